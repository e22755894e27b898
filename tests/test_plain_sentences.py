"""The first sentence that somebody types: sixty plain ones, a third of them with a negation.

They were written before the reference checkpoint was trained, when its teacher was ready, and
nothing was chosen on them.
"""

from pathlib import Path

from sentiment_hf import SentimentPipeline

SENTENCES = [
    line.split("\t")
    for line in Path(__file__).with_name("plain_sentences.tsv").read_text("utf-8").splitlines()
]
LEAST_ACCURACY = 0.93


def test_the_sentences_are_of_both_labels():
    labels = [label for label, _ in SENTENCES]
    assert labels.count("pos") == labels.count("neg") == 30


def test_the_reference_checkpoint_reads_plain_sentences():
    answers = SentimentPipeline.from_pretrained()([text for _, text in SENTENCES])
    wrong = [text for (label, text), answer in zip(SENTENCES, answers) if answer["label"] != label]
    assert 1 - len(wrong) / len(SENTENCES) >= LEAST_ACCURACY, wrong
