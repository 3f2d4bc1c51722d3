"""The group ``then``: what it refuses, and in whose words."""

import pytest

import pruneflow
from pruneflow.errors import ConfigError
from pruneflow.sparsity.then import Zeros, named


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["then=unstructured"], "then=unstructured: it prunes the network that the first phase cuts"),
        (["structure=block_4x1", "then=n_of_m"], "structure=block_4x1 cuts nothing"),
        (["structure=channel", "then=unstructured", "then.final_sparsity=nan"], "then.final_sparsity=nan: "),
        (["structure=channel", "then=unstructured", "then.epochs=0"], "then.epochs=0: "),
        (["structure=channel", "then=block", "then.structure.inputs=0"], "then.structure.inputs=0: "),
        (["structure=channel", "then=block", "then.structure=foo"], "then.structure=foo: it holds"),
    ],
)
def test_what_cannot_come_after_is_refused_by_its_key(words, message):
    with pytest.raises(ConfigError) as caught:
        pruneflow.compose(words)
    assert message in str(caught.value)


def test_the_network_is_cut_once():
    structure = pruneflow.compose(["structure=channel"]).structure
    with pytest.raises(ConfigError, match="then=channel: the network is cut once"):
        Zeros(name="own", structure=structure, final_sparsity=0.5, epochs=None)


def test_messages_of_both_phases_name_their_own_keys():
    with pytest.raises(ConfigError) as caught, named():
        raise ConfigError(
            "structure=block: x. Lower structure.inputs, then.structure.inputs, my.structure=1."
        )
    assert str(caught.value) == (
        "then=block: x. Lower then.structure.inputs, then.structure.inputs, my.structure=1."
    )
