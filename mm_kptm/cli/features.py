"""The verbs of region features: features extract, convert, doctor, diff, formats."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mm_kptm.cli.output import add_json, print_json, print_pairs, print_rows
from mm_kptm.errors import UserError

if TYPE_CHECKING:
    from mm_kptm.vision.features.contract import FeatureContract
    from mm_kptm.vision.features.convert import PictureSizes
    from mm_kptm.vision.features.detections import Detections
    from mm_kptm.vision.features.doctor import Doctor
    from mm_kptm.vision.features.formats.format import Format

CLEAN, FAULTY = 0, 1  #: exit codes of the doctor
AGAIN = 8  #: images that the doctor extracts again
NO_WEIGHTS = "none"


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group of verbs to the parser."""
    group = verbs.add_parser("features", help="region features: extract them from pictures, convert, check, compare")
    actions = group.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    _add_extract(actions)
    _add_convert(actions)
    _add_doctor(actions)
    _add_diff(actions)
    formats = actions.add_parser("formats", help="every feature file that can be read and written")
    add_json(formats)
    formats.set_defaults(run=_formats)


def _add_extract(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    extract = actions.add_parser("extract", help="turn a folder of pictures into a store of region features")
    extract.description = (
        "The same command goes on where a killed one stopped. A broken picture is skipped, counted and named."
    )
    extract.add_argument("folder", type=Path, metavar="FOLDER", help="pictures, in folders of any depth")
    extract.add_argument("--to", type=Path, required=True, metavar="STORE", help="the folder to write")
    extract.add_argument(
        "--extractor", default="bottom-up", metavar="KIND", help="bottom-up (default), torchvision, grid or patches"
    )
    extract.add_argument("--model", default="", metavar="NAME", help="a detector of torchvision or a backbone of timm")
    extract.add_argument(
        "--weights", metavar="FILE", help="a local file of weights, or `none` for weights drawn by chance (to try out)"
    )
    extract.add_argument("--boxes", default="36", metavar="N or MIN-MAX", help="regions of a picture: 36, or 10-100")
    extract.add_argument("--threshold", type=float, default=0.2, help="least confidence of a region (default 0.2)")
    extract.add_argument("--classes", type=int, metavar="N", help="classes of the detector, without the background")
    extract.add_argument(
        "--size", type=int, metavar="PIXELS", help="side of the network's input; short side of detectors"
    )
    extract.add_argument("--cells", type=int, metavar="N", help="pool a grid to N x N regions")
    extract.add_argument("--patch", type=int, default=32, metavar="PIXELS", help="side of a patch (default 32)")
    extract.add_argument("--batch", type=int, default=8, metavar="N", help="pictures read at once (default 8)")
    extract.add_argument(
        "--workers", type=int, default=0, metavar="N", help="processes that decode pictures (default 0)"
    )
    extract.add_argument("--device", default=None, help="cpu or cuda; the best there is unless given")
    extract.add_argument("--seed", type=int, default=0, help="of weights drawn by chance")
    add_json(extract)
    extract.set_defaults(run=_extract)


def _add_convert(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    convert = actions.add_parser("convert", help="turn one feature file into another, image by image")
    convert.add_argument("source", type=Path, metavar="SOURCE", help="a feature file or folder")
    convert.add_argument("target", type=Path, metavar="TARGET", help="what to write; it must not exist")
    convert.add_argument("--to", default="native", metavar="FORMAT", help="see `features formats` (default native)")
    _add_source(convert)
    convert.set_defaults(run=_convert)


def _add_doctor(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    doctor = actions.add_parser("doctor", help="find faults: swapped axes, wrong colours, missing regions, ids one off")
    doctor.description = f"Exit code {CLEAN} where nothing is wrong, {FAULTY} where something is."
    doctor.add_argument("source", type=Path, metavar="SOURCE", help="a feature file or folder")
    doctor.add_argument(
        "--contract", type=Path, metavar="FILE", help="how the features should be (default: that beside)"
    )
    doctor.add_argument("--dim", type=int, metavar="N", help="numbers that a feature should have")
    doctor.add_argument("--against", type=Path, metavar="OTHER", help="a trusted extraction of the same pictures")
    doctor.add_argument(
        "--weights", metavar="FILE", help=f"with --images: extract {AGAIN} pictures again; `none` as for extract"
    )
    _add_source(doctor)
    doctor.set_defaults(run=_doctor)


def _add_diff(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    diff = actions.add_parser("diff", help="compare two extractions: IoU of matched boxes, cosine, classes")
    diff.add_argument("first", type=Path, metavar="FIRST", help="a feature file or folder")
    diff.add_argument("second", type=Path, metavar="SECOND", help="another")
    diff.add_argument("--iou", type=float, default=0.5, help="least IoU of a matched pair (default 0.5)")
    diff.add_argument("--images", type=Path, metavar="FOLDER", help="pictures, for sizes that a file does not say")
    add_json(diff)
    diff.set_defaults(run=_diff)


def _add_source(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--from", dest="kind", metavar="FORMAT", help="format of SOURCE, if its contents do not say it")
    verb.add_argument("--images", type=Path, metavar="FOLDER", help="the pictures, for sizes that a file does not say")
    add_json(verb)


def _formats(options: argparse.Namespace) -> int:
    from mm_kptm.vision.features.formats.format import formats

    rows = [
        {"format": each.name, "keeps": sorted(each.keeps), "float16": each.float16, "summary": each.summary}
        for each in formats().values()
    ]
    if options.json:
        print_json(rows)
    else:
        print_rows([{"format": row["format"], "summary": row["summary"]} for row in rows])
    return 0


def _extract(options: argparse.Namespace) -> int:
    import torch

    from mm_kptm.vision.extractors.build import ExtractorSettings, build_extractor
    from mm_kptm.vision.extractors.extract import extract

    least, most = _range(options.boxes)
    for name in ("batch", "patch"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name} must be at least 1, but it is {getattr(options, name)}")
    if options.workers < 0:
        raise UserError(f"--workers must be at least 0, but it is {options.workers}")
    settings = ExtractorSettings(
        kind=options.extractor,
        model=options.model,
        size=options.size,
        cells=options.cells,
        patch=options.patch,
        min_boxes=least,
        max_boxes=most,
        threshold=options.threshold,
        num_classes=options.classes,
        seed=options.seed,
    )
    if options.weights is None and options.extractor != "patches":
        raise UserError(
            "features without weights are made by chance; give a local file with --weights, or say --weights none to "
            "try it out"
        )
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    built = build_extractor(settings, _weights(options.weights), device=device)
    done = extract(
        options.folder, options.to, built, batch_size=options.batch, workers=options.workers, begin=_progress
    )
    if options.json:
        print_json({**asdict(done), "store": options.to})
        return 0
    again = f", {done.resumed} of them by an earlier run" if done.resumed else ""
    print(f"{options.to}: regions of {done.images} pictures{again}")
    if done.skipped:
        print(f"{len(done.skipped)} pictures skipped:")
        for name, reason in done.skipped:
            print(f"  {name}: {reason}")
    return 0


def _convert(options: argparse.Namespace) -> int:
    from mm_kptm.vision.features.convert import convert
    from mm_kptm.vision.features.formats.format import format_named

    source, target = _format(options.source, options.kind), format_named(options.to)
    done = convert(options.source, source, options.target, target, sizes=_sizes(options.images), advance=_counter())
    if options.json:
        print_json({**asdict(done), "from": source.name, "to": target.name})
        return 0
    print(f"{options.target}: {done.images} images, {done.regions} regions, {source.name} to {target.name}")
    if done.dropped:
        print(f"{target.name} has no place for {', '.join(sorted(done.dropped))}")
    if done.rounded:
        print("numbers were rounded to float16")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from mm_kptm.vision.features.contract import differences
    from mm_kptm.vision.features.doctor import Doctor, Fault

    beside = _contract(options.source)
    expected = _contract_at(options.contract) if options.contract else beside
    sizes = _sizes(options.images)
    doctor = Doctor(contract=expected, dim=options.dim, sizes=sizes)
    source = _format(options.source, options.kind)
    if options.against:
        _compare_with(doctor, source.read(options.source), _format(options.against, None).read(options.against))
    if options.weights:
        _compare_with_extraction(doctor, source.read(options.source), expected, sizes, _weights(options.weights))
    faults = doctor.examine(source.read(options.source))
    if options.contract and beside is not None and expected is not None:
        faults += [Fault("contract", f"the data break the contract: {each}") for each in differences(beside, expected)]
    if options.json:
        summary = {"images": doctor.images, "regions": doctor.regions, "format": source.name}
        print_json({**summary, "faults": [asdict(fault) for fault in faults]})
    else:
        print(f"{options.source}: {doctor.images} images, {doctor.regions} regions, {source.name}")
        for fault in faults:
            named = f" ({', '.join(fault.examples)})" if fault.examples else ""
            print(f"{fault.name}: {fault.sentence}{named}")
        if not faults:
            print("nothing is wrong that can be seen from here")
    return FAULTY if faults else CLEAN


def _diff(options: argparse.Namespace) -> int:
    from mm_kptm.vision.features.convert import sized
    from mm_kptm.vision.features.diff import diff

    sizes = _sizes(options.images)
    first, second = (sized(_format(path, None).read(path), sizes) for path in (options.first, options.second))
    difference = diff(first, second, threshold=options.iou)
    if options.json:
        print_json(difference)
        return 0
    least = min(difference.regions)
    print_pairs(
        {
            "images in both": difference.images,
            "only in the first": len(difference.only_first),
            "only in the second": len(difference.only_second),
            "images of two sizes": len(difference.sizes),
            "regions": list(difference.regions),
            f"matched at IoU {options.iou:g}": f"{difference.matched} ({difference.matched / least:.1%})"
            if least
            else "0",
            "mean IoU": difference.iou,
            "mean cosine": "" if difference.cosine is None else difference.cosine,
            "worst cosine": "" if difference.worst_cosine is None else difference.worst_cosine,
            "same class": "" if difference.same_class is None else f"{difference.same_class:.1%}",
        }
    )
    return 0


def _compare_with(doctor: Doctor, ours: Iterator[Detections], theirs: Iterator[Detections]) -> None:
    from mm_kptm.vision.features.diff import aligned

    for image, reference in aligned(ours, theirs):
        if image is not None and reference is not None and len(image) and len(reference):
            doctor.compare(image, reference)


def _compare_with_extraction(
    doctor: Doctor,
    images: Iterator[Detections],
    contract: FeatureContract | None,
    sizes: PictureSizes | None,
    weights: Path | None,
) -> None:
    """Compare the first images with a new extraction, in both colour orders."""
    from mm_kptm.vision.extractors.build import extractor_of
    from mm_kptm.vision.extractors.extract import extract_again

    if contract is None or sizes is None:
        raise UserError(
            "extracting again needs the pictures (--images) and a contract, beside the features or --contract"
        )
    built = extractor_of(contract, weights)
    left = AGAIN
    for image in images:
        path = sizes.path(image.image)
        if path is not None and len(image):
            doctor.compare(image, *extract_again(built, path, image.image))
            left -= 1
        if not left:
            return


def _format(path: Path, name: str | None) -> Format:
    from mm_kptm.vision.features.formats.format import format_named, format_of

    if name is None:
        return format_of(path)
    if not path.exists():
        raise UserError(f"region features were looked for in {path}, which is not there")
    return format_named(name)


def _contract(source: Path) -> FeatureContract | None:
    from mm_kptm.vision.features.contract import contract_path

    path = contract_path(source)
    return _contract_at(path) if path.is_file() else None


def _contract_at(path: Path) -> FeatureContract:
    from mm_kptm.vision.features.contract import contract_path, read_contract

    return read_contract(contract_path(path) if path.is_dir() else path)


def _sizes(folder: Path | None) -> PictureSizes | None:
    from mm_kptm.vision.features.convert import PictureSizes

    return None if folder is None else PictureSizes(folder)


def _weights(name: str | None) -> Path | None:
    return None if name is None or name == NO_WEIGHTS else Path(name)


def _range(text: str) -> tuple[int, int]:
    """Parse a number of boxes, or its limits."""
    limits = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", text)
    if limits is None:
        raise UserError(f"--boxes is a number such as 36, or limits such as 10-100, but it is {text!r}")
    return int(limits[1]), int(limits[2] or limits[1])


def _progress(total: int, done: int) -> Callable[[int], None]:
    """Progress callback with an ETA: a live line on a terminal, else plain lines."""
    from mm_kptm.train.log import Progress

    line = Progress("extract", steps=total, start=done)

    def advance(count: int) -> None:
        for _ in range(count):
            line.step()

    return advance


def _counter() -> Callable[[int], None] | None:
    """Callback that counts images on a terminal."""
    if not sys.stderr.isatty():
        return None
    from tqdm import tqdm

    bar = tqdm(desc="convert", unit=" images", file=sys.stderr, leave=False)

    def advance(count: int) -> None:
        bar.update(count)

    return advance
