"""Every attention kernel attends as the padded reference does, and CUDA takes few calls without reading the device."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from mm_kptm.batch import AttentionMask, SequenceLayout
from mm_kptm.nn.kernels import calls as kernels
from mm_kptm.nn.kernels.calls import AttentionCalls, compute_calls
from mm_kptm.nn.kernels.choice import Kernel, kernel_for
from mm_kptm.nn.kernels.operator import attention
from mm_kptm.nn.kernels.padded_groups import padded_groups
from mm_kptm.nn.ragged import AttentionLayout, attend, padded_attend
from mm_kptm.nn.visibility import Branches, Causal, Matrix

QUERIES = SequenceLayout((3, 0, 4, 4, 1, 6, 2))
SOURCES = SequenceLayout((3, 5, 4, 4, 0, 6, 7))
SAME = SequenceLayout((3, 0, 4, 4, 1, 6, 2))


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def trees(rows: int) -> Branches:
    numbers = torch.arange(rows)
    return Branches(words=numbers // 3, branches=numbers % 3)


LAYOUTS: dict[str, AttentionLayout] = {
    "self": AttentionLayout(SAME, SAME),
    "cross": AttentionLayout(QUERIES, SOURCES),
    "causal": AttentionLayout(SAME, SAME, Causal()),
    "tree": AttentionLayout(SAME, SAME, trees(SAME.total)),
    "narrowed tree": AttentionLayout(SAME, SAME, trees(SAME.total)).restrict_queries(torch.tensor([0, 4, 9, 11, 19])),
    "blind": AttentionLayout(SAME, SAME, Matrix.of([torch.zeros(n, n, dtype=torch.bool) for n in SAME.lengths])),
}


def rows_of(layout: AttentionLayout) -> tuple[Tensor, Tensor, Tensor]:
    query, key, value = (
        draw(rows, 2, 8, seed=seed).requires_grad_()
        for seed, rows in enumerate((layout.queries.total, layout.sources.total, layout.sources.total))
    )
    return query, key, value


@pytest.fixture
def plain_varlen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable-length call on a CPU, which has no such kernel, by the padded reference."""

    def varlen(
        q: Tensor, k: Tensor, v: Tensor, calls: AttentionCalls, longest: tuple[int, int], dropout: float
    ) -> Tensor:
        assert calls.cu_queries is not None and calls.cu_sources is not None
        within = SequenceLayout(tuple(calls.cu_queries.diff().tolist()))
        read = SequenceLayout(tuple(calls.cu_sources.diff().tolist()))
        assert longest == (max(within.lengths), max(read.lengths))
        assert min(within.lengths) > 0 and min(read.lengths) > 0, "kernels do not take empty sequences"
        return padded_attend(q, k, v, AttentionLayout(within, read, Causal() if calls.causal else None))

    monkeypatch.setattr(kernels, "_varlen", varlen)


FOR_ALL: list[Kernel] = ["runs", "groups"]
FOR_PLAIN: list[Kernel] = [*FOR_ALL, "varlen"]
KERNELS = [
    (name, kernel)
    for name, layout in LAYOUTS.items()
    for kernel in (FOR_PLAIN if layout.mask is None or layout.causal else FOR_ALL)
]


@pytest.mark.usefixtures("plain_varlen")
@pytest.mark.parametrize(("name", "kernel"), KERNELS)
@pytest.mark.parametrize("compute", [compute_calls, attention])
def test_outputs_and_gradients_are_those_of_the_padded_reference(name: str, kernel: Kernel, compute: Any) -> None:
    layout = LAYOUTS[name]
    streams = rows_of(layout)
    direction = draw(layout.queries.total, 2, 8, seed=7)
    expected = padded_attend(*streams, layout)
    ours = compute(*streams, layout.calls(kernel, torch.device("cpu")), 0.0)
    torch.testing.assert_close(ours, expected)
    found, wanted = (torch.autograd.grad((out * direction).sum(), streams) for out in (ours, expected))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("autocast", [False, True])
def test_a_cpu_differentiates_attention_in_float32(autocast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 comes in and out; where nothing is differentiated it is computed in."""
    computed: list[torch.dtype] = []
    attention = torch.nn.functional.scaled_dot_product_attention

    def watched(query: Tensor, *given: Tensor, **options: Any) -> Tensor:
        out = attention(query, *given, **options)
        computed.append(out.dtype)
        return out

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    layout = LAYOUTS["self"]
    streams = [rows.detach().bfloat16().requires_grad_() for rows in rows_of(layout)]
    calls = layout.calls("runs", torch.device("cpu"))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = compute_calls(*streams, calls, 0.0)
    gradients = torch.autograd.grad(out.sum(), streams)
    assert {*computed} == {torch.float32}
    assert {one.dtype for one in (out, *gradients)} == {torch.bfloat16}
    torch.testing.assert_close(out.double(), padded_attend(*rows_of(layout), layout), rtol=0.02, atol=0.02)
    computed.clear()
    with torch.no_grad():
        compute_calls(*streams, calls, 0.0)
    assert {*computed} == {torch.bfloat16}


def test_the_backward_pass_of_the_operator_drops_what_the_forward_pass_dropped() -> None:
    layout = LAYOUTS["tree"]
    calls = layout.calls("groups", torch.device("cpu"))
    found = []
    for compute in (compute_calls, attention):
        streams = rows_of(layout)
        torch.manual_seed(3)
        out = compute(*streams, calls, 0.5)
        drawn_after = torch.rand(1)
        gradients = torch.autograd.grad((out**2).sum(), streams)
        found.append((out, *gradients, drawn_after, torch.rand(1)))
    torch.testing.assert_close(found[0], found[1])
    assert not torch.allclose(found[0][0], padded_attend(*rows_of(layout), layout))


def test_the_operator_is_registered_as_torch_demands() -> None:
    layout = LAYOUTS["tree"]
    calls = layout.calls("groups", torch.device("cpu"))
    operator = torch.ops.mm_kptm.attention.default
    torch.library.opcheck(operator, (*rows_of(layout), *calls[2:], 0.0))


CUDA = torch.device("cuda:0")
LONG = SequenceLayout((*torch.randint(1, 300, (64,), generator=torch.Generator().manual_seed(1)).tolist(), 0))
FORMATS = [torch.bfloat16, torch.float32]


class Counter(TorchDispatchMode):
    """Counts the attention calls and the reads of the device among all dispatched operators."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of torch
        self.calls: list[str] = []
        self.reads: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if "attention" in name or "softmax" in name:  # without a device, torch decomposes what is no single kernel
            self.calls.append(name)
        on_device = any(isinstance(x, Tensor) and x.device.type == "cuda" for x in args)
        if on_device and name in ("_local_scalar_dense", "nonzero", "_unique2", "unique_dim"):
            self.reads.append(name)
        out = func(*args, **(kwargs or {}))
        if on_device and isinstance(out, Tensor) and out.device.type == "cpu":
            self.reads.append(name)
        return out


@pytest.fixture
def fake_cuda() -> Iterator[None]:
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


@pytest.mark.usefixtures("fake_cuda")
@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("mask", [None, Causal(), "tree"])
@pytest.mark.parametrize("operator", [False, True])
def test_cuda_takes_few_calls_and_reads_nothing_back(
    dtype: torch.dtype, dropout: float, mask: AttentionMask | str | None, operator: bool
) -> None:
    given = trees(LONG.total).to(CUDA) if isinstance(mask, str) else mask
    layout = AttentionLayout(LONG, LONG, given)
    kernel = layout.kernel(CUDA, dtype, head_dim=64, dropout=dropout > 0)
    assert kernel == ("varlen" if not isinstance(mask, str) else "groups" if dropout else "flex")
    if kernel == "flex":
        kernel = "groups"  # FlexAttention is one call by its definition; see the test of its block mask
    query, key, value = (
        torch.empty(LONG.total, 12, 64, dtype=dtype, device=CUDA, requires_grad=True) for _ in range(3)
    )
    with Counter() as counter:
        calls = layout.calls(kernel, CUDA)
        out = compute_calls(query, key, value, calls, dropout)
    assert out.shape == query.shape and out.device == CUDA and out.requires_grad
    assert 1 <= len(counter.calls) <= (1 if kernel == "varlen" else 4), counter.calls
    assert not counter.reads
    if operator:
        whole = attention(query, key, value, calls, dropout)
        assert (whole.shape, whole.dtype, whole.device) == (out.shape, out.dtype, out.device)


@pytest.mark.usefixtures("fake_cuda")
def test_training_with_dropout_under_a_mask_is_no_loop() -> None:
    layout = AttentionLayout(LONG, LONG, trees(LONG.total).to(CUDA))
    rows = torch.empty(LONG.total, 12, 64, dtype=torch.bfloat16, device=CUDA)
    with Counter() as counter:
        attend(rows, rows, rows, layout, dropout=0.1)
    assert len(counter.calls) <= 4, counter.calls


def test_other_devices_and_formats_have_a_kernel_each() -> None:
    def chosen(device: torch.device, dtype: torch.dtype, head_dim: int = 64) -> Kernel:
        return kernel_for(device, dtype, head_dim=head_dim, masked=False, causal=False, dropout=False)

    assert chosen(torch.device("cpu"), torch.bfloat16) == "runs"
    assert chosen(CUDA, torch.float64) == "groups"
    assert chosen(CUDA, torch.bfloat16, head_dim=512) == "groups"


def test_groups_add_little_padding() -> None:
    lengths = tuple(torch.randint(10, 513, (256,), generator=torch.Generator().manual_seed(0)).sort().values.tolist())
    groups = padded_groups(lengths, lengths)
    padded = sum(len(group.sequences) * group.num_queries * group.num_sources for group in groups)
    assert len(groups) == 4
    assert sorted(b for group in groups for b in group.sequences) == list(range(256))
    assert padded / sum(n * n for n in lengths) < 1.4
    assert 256 * max(lengths) ** 2 / sum(n * n for n in lengths) > 2.5


def test_equal_sequences_are_one_group() -> None:
    assert len(padded_groups((5,) * 9, (7,) * 9)) == 1
    assert padded_groups((0, 0), (3, 0)) == []
