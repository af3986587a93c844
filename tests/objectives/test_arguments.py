"""Arguments of objectives from an experiment file: a wrong type is a sentence."""

import pytest

from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.errors import UserError
from mm_kptm.objectives.spec import TEXTS, ObjectiveContext, Offers, build_objectives


@pytest.mark.parametrize("given", [{"share": "half"}, {"mean_length": [3]}])
def test_an_argument_of_the_wrong_type_is_named(given):
    specials = Specials(pad=0, unknown=1, start=2, stop=3, mask=4)
    context = ObjectiveContext(specials, 100, Offers("documents", {TEXTS: None}), settings={"denoising": given})
    with pytest.raises(UserError, match=rf"^an argument of denoising is of the wrong type \({next(iter(given))}: "):
        build_objectives(["denoising"], context)
