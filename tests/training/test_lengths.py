"""How long a phase is where no settings say it."""

import pytest

from pruneflow.flow import lengths, pipeline
from pruneflow.training.lengths import DENSE, PRUNED

OWN = ["latency.seconds=0", "dataset=image_folder", "model.filters=[4]"]


def test_many_examples_get_the_epochs_and_batches_of_the_guide(composed):
    trainer = composed("dataset=image_folder", "dataset.path=x").trainer
    assert (trainer.dense_epochs, trainer.epochs, trainer.batch_size) == (None, None, None)
    taken = trainer.for_examples(54_000)
    assert (taken.dense_epochs, taken.dense_batch_size) == (4, 32)  # 1,688 steps each
    assert (taken.epochs, taken.batch_size) == (2, 128)  # 422 steps each, 844 in all


@pytest.mark.parametrize(
    ("examples", "dense", "pruned"),
    [
        (432, (19, 16), (19, 16)),  # 27 steps each, 513 in all; with batches of 32 there are 14
        (3000, (6, 32), (21, 128)),  # 94 and 24 steps each
        (40, (100, 8), (100, 8)),  # 5 steps each
        (3, (500, 3), (500, 3)),  # a batch is never larger than the training part
    ],
)
def test_few_examples_get_smaller_batches_and_as_many_epochs_as_500_steps_need(
    composed, examples, dense, pruned
):
    taken = composed("dataset=image_folder", "dataset.path=x").trainer.for_examples(examples)
    assert (taken.dense_epochs, taken.dense_batch_size) == dense
    assert (taken.epochs, taken.batch_size) == pruned


def test_numbers_that_are_named_win(composed):
    words = ["dataset=image_folder", "dataset.path=x", "trainer.epochs=3", "trainer.dense_batch_size=100"]
    taken = composed(*words).trainer.for_examples(432)
    assert (taken.dense_epochs, taken.dense_batch_size) == (100, 100)  # 5 steps each
    assert (taken.epochs, taken.batch_size) == (3, 16)
    assert composed(*words, "trainer.dense_epochs=0").trainer.for_examples(432).dense_epochs == 0


def test_a_network_that_comes_trained_has_no_dense_phase(composed):
    words = ["dataset=image_folder", "dataset.path=x", "model=keras_file", "model.path=x.h5"]
    assert composed(*words).trainer.for_examples(432).dense_epochs == 0


@pytest.mark.parametrize("dataset", ["mnist", "imdb"])
def test_a_recipe_names_every_length(composed, dataset):
    trainer = composed(f"dataset={dataset}", f"model={'cnn' if dataset == 'mnist' else 'lstm'}").trainer
    assert trainer.for_examples(40) == trainer


def test_the_printed_plan_says_what_was_chosen_and_why(composed):
    asked = composed("dataset=image_folder", "dataset.path=x", "trainer.epochs=3").trainer
    dense, pruned = lengths.said(asked, asked.for_examples(432), 432)
    assert dense == (
        "dense 19 x 27 steps = 513 steps, batches of 16 "
        "(epochs by trainer.min_steps=500, batches by the size of the data)"
    )
    assert pruned == "pruned 3 x 27 steps = 81 steps, batches of 16 (batches by the size of the data)"


def test_a_short_pruning_phase_is_doubted(composed):
    config = composed("trainer.epochs=2", "trainer.batch_size=128", "dataset.limit=400")
    (said,) = pipeline.prepare(config).warnings  # 360 images
    assert said == (
        "The pruning phase has 6 steps (fewer than 100) and 4 mask updates (fewer than 10): the network may "
        "not recover what pruning takes. Raise trainer.epochs=2, or set it to null."
    )
    few = composed("trainer.epochs=12", "trainer.batch_size=36", "schedule.frequency=20")
    (said,) = pipeline.prepare(few).warnings
    assert "has 5 mask updates (fewer than 10)" in said and said.endswith("or set it to auto.")
    assert pipeline.prepare(composed("trainer.epochs=12", "trainer.batch_size=36")).warnings == []


def test_a_phase_never_has_fewer_steps_than_are_asked_for():
    for examples in range(1, 2000, 7):
        for usual in (DENSE, PRUNED):
            size = usual.batch_size_for(examples)
            steps = -(-examples // size)
            epochs = usual.epochs_for(examples, batch_size=size, least_steps=500)
            assert epochs * steps >= 500 and (epochs - 1) * steps < max(500, usual.epochs * steps)
