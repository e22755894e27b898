"""The pipeline: text in, labels out, in the shapes of transformers' own."""

import random
import time

import pytest
import torch

from sentiment_hf import SentimentError, SentimentPipeline

TEXTS = [
    "a good film",
    "cold",
    "not a bad film , warm and good and cold and bad",
    "",
    "warm zebra ! not good , not cold",
    "a bad film , bad and cold",
]
FOUR_LABELS = dict(enumerate(["bad", "poor", "good", "great"]))


@pytest.fixture(params=[{}, {"id2label": FOUR_LABELS}], ids=["2 labels", "4 labels"])
def pipe(request, make_pipeline) -> SentimentPipeline:
    return sharpened(make_pipeline(**request.param))


def sharpened(pipe: SentimentPipeline) -> SentimentPipeline:
    with torch.no_grad():  # So that texts differ as after a training.
        pipe.network.embedding.weight.mul_(4)
        pipe.network.linear.weight.mul_(20)
    return pipe


def scores(answers: list[list[dict]]) -> torch.Tensor:
    """`(texts, labels)`, labels in alphabetical order."""
    rows = [sorted(answer, key=lambda one: one["label"]) for answer in answers]
    return torch.tensor([[one["score"] for one in row] for row in rows])


def shape(answer):
    if isinstance(answer, list):
        return [shape(part) for part in answer]
    return {key: type(value).__name__ for key, value in answer.items()}


@pytest.fixture
def transformers_pipe(pipe, monkeypatch):
    """transformers' own pipeline, around a small network of its own."""
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "error")
    import transformers

    config = transformers.BertConfig(
        vocab_size=11,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        id2label=pipe.config.id2label,
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=pipe.tokenizer, pad_token="[PAD]", unk_token="[UNK]"
    )
    network = transformers.BertForSequenceClassification(config)
    return transformers.TextClassificationPipeline(model=network, tokenizer=tokenizer)


@pytest.mark.parametrize("options", [{}, *({"top_k": k} for k in (1, 2, None, 3, 99, 0))], ids=str)
def test_answers_have_the_shape_of_transformers_own(pipe, transformers_pipe, options):
    for texts in ("warm", ["warm"], ["warm", "cold and bad", "good"]):
        assert shape(pipe(texts, **options)) == shape(transformers_pipe(texts, **options))


def test_scores_are_the_probabilities_of_the_labels_beside_them_best_first(pipe):
    names, probabilities = pipe.config.label_names, pipe.probabilities(TEXTS)
    assert probabilities.shape == (6, len(names))
    assert len({answer["label"] for answer in pipe(TEXTS)}) > 1
    for row, answer in zip(probabilities.tolist(), pipe(TEXTS, top_k=None)):
        assert {one["label"]: one["score"] for one in answer} == dict(zip(names, row))
        assert sum(one["score"] for one in answer) == pytest.approx(1)
        assert answer == sorted(answer, key=lambda one: -one["score"])


def test_fewer_labels_are_the_first_of_all_labels(pipe):
    everything = pipe(TEXTS, top_k=None)
    assert pipe(TEXTS) == [answer[0] for answer in everything]
    for top_k in (1, 2, 3):
        assert pipe(TEXTS, top_k=top_k) == [answer[:top_k] for answer in everything]


def test_a_text_has_the_same_scores_alone_and_in_a_batch_of_any_size_in_any_order(pipe):
    alone = scores([pipe(text, top_k=None) for text in TEXTS])
    assert alone.std(dim=0).max() > 0.05
    shuffled = random.Random(0).sample(range(6), 6)
    in_another_order = scores(pipe([TEXTS[i] for i in shuffled], top_k=None))
    torch.testing.assert_close(in_another_order, alone[shuffled], atol=1e-6, rtol=0)
    for size in (None, 1, 2, 3, 100):
        together = scores(pipe(TEXTS, top_k=None, batch_size=size))
        torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)


def test_many_texts_keep_their_order(pipe):
    many = random.Random(0).choices(TEXTS, k=3000)
    known = {text: pipe(text)[0] for text in TEXTS}
    for text, answer in zip(many, pipe(many), strict=True):
        assert answer["label"] == known[text]["label"]
        assert answer["score"] == pytest.approx(known[text]["score"], abs=1e-5)


@pytest.mark.parametrize(
    "several", [tuple, iter, lambda texts: (text for text in texts)], ids=["tuple", "iter", "gen"]
)
def test_texts_may_come_from_any_iterable(pipe, several):
    assert pipe(several(TEXTS)) == pipe(TEXTS)


def test_an_empty_list_is_answered_by_an_empty_list(pipe):
    assert pipe([]) == pipe([], top_k=None) == []
    assert pipe.probabilities([]).shape == (0, pipe.config.num_labels)


@pytest.mark.parametrize("text", ["", "  \n\t ", "<br />"])
def test_a_text_without_a_word_is_read_as_one_unknown_word(pipe, text):
    assert pipe(text, top_k=None) == pipe("zebra", top_k=None)
    assert pipe(["good", text])[1] == pipe(["good", "zebra"])[1]


@pytest.mark.parametrize("wrong", [None, 5, float("nan"), b"good", ["good"], {"text": "good"}])
def test_what_is_no_text_in_a_list_is_one_sentence_that_names_its_place(pipe, wrong):
    with pytest.raises(SentimentError, match=f"1.*{type(wrong).__name__}") as error:
        pipe(["good", wrong, "bad"])
    assert error.value.exit_status == 2


@pytest.mark.parametrize("wrong", [None, 5, b"good", {"text": "good"}])
def test_what_is_neither_a_text_nor_a_list_of_texts_is_one_sentence(pipe, wrong):
    with pytest.raises(SentimentError, match=r"(?i)text"):
        pipe(wrong)


def test_a_lone_surrogate_is_read_as_the_replacement_character(pipe):
    texts = ["good \ud800 film", "\udcff", "good"]
    assert pipe(texts) == pipe(["good \ufffd film", "\ufffd", "good"])


@pytest.mark.parametrize(
    "piece", ["a", "1,", "good ", *(pytest.param(x, marks=pytest.mark.slow) for x in ("1", "1."))]
)
def test_a_text_of_ten_megabytes_has_an_answer(make_pipeline, piece):
    pipe = sharpened(make_pipeline(max_length=8))
    middle = piece * (10_000_000 // len(piece))
    answers = pipe(["warm", f"a bad {middle} film and not a bad film", "cold"], top_k=None)
    short = pipe(["warm", "a bad film and not a bad film", "cold"], top_k=None)
    torch.testing.assert_close(scores(answers), scores(short), atol=1e-6, rtol=0)


@pytest.mark.parametrize("blanks", [" " * 30_000, "\n" * 30_000, " / " * 10_000])
def test_blanks_after_half_a_line_break_are_read_in_no_time(make_pipeline, blanks):
    pipe, start = make_pipeline(), time.perf_counter()
    pipe("good <br" + blanks)
    assert time.perf_counter() - start < 1


def test_a_text_that_is_too_long_keeps_a_quarter_of_head_and_three_quarters_of_tail(make_pipeline):
    words = TEXTS[2].split() + TEXTS[5].split()
    cut, whole = (sharpened(make_pipeline(max_length=length)) for length in (8, None))
    text, kept = " ".join(words), " ".join(words[:2] + words[-6:])
    assert cut(text)[0] == pytest.approx(whole(kept)[0])
    assert abs(scores([whole(text, top_k=None)]) - scores([whole(kept, top_k=None)])).max() > 1e-3


def test_prediction_never_drops_anything_and_leaves_the_mode_of_the_network(make_pipeline):
    pipe = make_pipeline(dropout=0.9, word_dropout=0.9, embedding_dropout=0.9)
    expected = pipe(TEXTS)
    pipe.network.train()
    assert pipe(TEXTS) == expected
    assert pipe.network.training
    pipe.network.eval()
    assert pipe(TEXTS) == expected
    assert not pipe.network.training


def test_bfloat16_is_a_choice_and_close_to_float32(checkpoint):
    exact = SentimentPipeline.from_pretrained(checkpoint, dtype="float32", device="cpu")
    close = SentimentPipeline.from_pretrained(checkpoint, dtype="bfloat16")
    default = SentimentPipeline.from_pretrained(checkpoint)
    assert close.network.linear.weight.dtype == torch.bfloat16
    assert default.network.linear.weight.dtype == torch.float32
    assert close.logits(TEXTS).dtype == close.probabilities(TEXTS).dtype == torch.float32
    torch.testing.assert_close(
        close.probabilities(TEXTS), exact.probabilities(TEXTS), atol=0.01, rtol=0
    )
    assert not torch.equal(close.logits(TEXTS), exact.logits(TEXTS))
    torch.testing.assert_close(default.logits(TEXTS).cpu(), exact.logits(TEXTS))


@pytest.mark.parametrize("device", ["nonsense", "", "cuda:99", "meta", "hpu"])
def test_an_unknown_device_is_one_sentence_that_names_it(checkpoint, device):
    with pytest.raises(SentimentError, match=f"device.*{device!r}") as error:
        SentimentPipeline.from_pretrained(checkpoint, device=device)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("dtype", ["float64", "float16", "int8", "bf16"])
def test_an_unknown_precision_is_one_sentence_that_lists_those_there_are(checkpoint, dtype):
    with pytest.raises(SentimentError, match=dtype) as error:
        SentimentPipeline.from_pretrained(checkpoint, dtype=dtype)
    assert "float32" in str(error.value)
    assert "bfloat16" in str(error.value)
