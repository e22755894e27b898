"""The network: padding is never read, both directions are exact, the article's grid is there."""

from itertools import product

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot

from sentiment_hf import LSTMConfig
from sentiment_hf.checkpoint.pretrained import LSTMForSequenceClassification
from sentiment_hf.data.batching import pad_rows
from sentiment_hf.training.presets import get_preset

VOCAB_SIZE = 40
LENGTHS = (1, 7, 12, 2, 12, 5)
POOLINGS = ("last", "mean", "max", "mean_max")
FOUR_LABELS = dict(enumerate(["bad", "poor", "good", "great"]))


def build(seed: int = 0, **fields) -> LSTMForSequenceClassification:
    torch.manual_seed(seed)
    network = LSTMForSequenceClassification(
        LSTMConfig(VOCAB_SIZE, **{"embedding_dim": 6, "hidden_size": 8} | fields)
    )
    with torch.no_grad():  # Larger than at the start, so that every word moves the logits.
        for parameter in network.parameters():
            parameter.mul_(2)
    return network.eval()


def texts(*lengths: int, pad: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    draws = [torch.randint(0, VOCAB_SIZE - 1, (length,), generator=generator) for length in lengths]
    return [ids + (ids >= pad) for ids in draws]


def layout(rows: list[torch.Tensor], side: str, width: int, padding: int) -> tuple:
    ids = torch.full((len(rows), width), padding)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for line, row in enumerate(rows):
        room = width - len(row)
        start = {"right": 0, "left": room, "both": room // 2}[side]
        ids[line, start : start + len(row)] = row
        mask[line, start : start + len(row)] = 1
    return ids, mask


def pool(states: torch.Tensor, config: LSTMConfig) -> torch.Tensor:
    """Pooling of `(words, features)` in plain torch."""
    if config.pooling == "last":
        hidden = config.hidden_size
        return torch.cat([states[-1, :hidden], states[0, hidden:]])
    parts = {"mean": [states.mean(0)], "max": [states.amax(0)]}
    parts["mean_max"] = parts["mean"] + parts["max"]
    return torch.cat(parts[config.pooling])


@pytest.fixture(params=product((1, 2), (False, True), POOLINGS, (2, 4)), ids=str)
def network(request) -> LSTMForSequenceClassification:
    layers, both, pooling, labels = request.param
    names = {"id2label": FOUR_LABELS} if labels == 4 else {}
    return build(num_layers=layers, bidirectional=both, pooling=pooling, **names)


def test_a_text_has_the_same_logits_alone_and_in_any_batch_padded_on_any_side(network):
    rows = texts(*LENGTHS)
    alone = torch.cat([network(row[None]) for row in rows])
    assert alone.shape == ((6,) if network.config.num_labels == 2 else (6, 4))
    assert alone.std(dim=0).min() > 0.01
    for side, width in product(("right", "left", "both"), (12, 19)):
        ids, mask = layout(rows, side, width, padding=0)
        garbage, _ = layout(rows, side, width, padding=9)
        for answer in (
            network(ids),
            network(ids, mask),
            network(garbage, mask.bool()),
            network(garbage.flip(0), mask.flip(0).float()).flip(0),
        ):
            torch.testing.assert_close(answer, alone, atol=1e-5, rtol=0)


def test_the_padding_id_is_the_one_of_the_configuration():
    network, rows = build(pad_token_id=3, unk_token_id=0), texts(*LENGTHS, pad=3)
    alone = torch.cat([network(row[None]) for row in rows])
    for side in ("right", "left", "both"):
        ids, _ = layout(rows, side, 15, padding=3)
        torch.testing.assert_close(network(ids), alone, atol=1e-5, rtol=0)
    assert (network.embedding.weight[3] == 0).all()


def test_logits_are_those_of_plain_lstms_over_the_row_and_over_the_flipped_row(network):
    config = network.config
    for row in texts(*LENGTHS):
        embedded = network.embedding.weight[row][None]
        states = []
        for direction in (network.lstm, network.backward_lstm):
            if direction is None:
                continue
            plain = nn.LSTM(6, 8, num_layers=config.num_layers, batch_first=True)
            plain.load_state_dict(direction.state_dict())
            backward = direction is network.backward_lstm
            read = plain(embedded.flip(1) if backward else embedded)[0][0]
            states.append(read.flip(0) if backward else read)
        logits = network.linear(pool(torch.cat(states, dim=-1), config))
        torch.testing.assert_close(network(row[None])[0], logits.squeeze(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_one_layer_in_two_directions_is_a_bidirectional_lstm(pooling):
    network = build(pooling=pooling)
    both = nn.LSTM(6, 8, batch_first=True, bidirectional=True)
    weights = network.lstm.state_dict()
    reverse = {f"{k}_reverse": v for k, v in network.backward_lstm.state_dict().items()}
    both.load_state_dict(weights | reverse)
    ids = torch.stack(texts(9, 9, 9, 9))
    expected = both(network.embedding(ids))[0]
    torch.testing.assert_close(torch.cat(network.hidden_states(*network.embed(ids)), -1), expected)
    logits = torch.stack([network.linear(pool(row, network.config))[0] for row in expected])
    torch.testing.assert_close(network(ids), logits, atol=1e-6, rtol=0)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("labels", [{}, {"id2label": FOUR_LABELS}], ids=["2", "4"])
def test_the_gathered_head_equals_the_head_applied_at_every_position(layers, labels):
    network = build(num_layers=layers, bidirectional=False, pooling="last", **labels)
    ids, mask = layout(rows := texts(*LENGTHS), "right", 12, padding=0)
    everywhere = network.linear(network.hidden_states(*network.embed(ids, mask))[0])
    for number, row in enumerate(rows):
        prefixes = [network(row[None, : t + 1])[0] for t in range(len(row))]
        here = everywhere[number, : len(row)].squeeze(-1)
        torch.testing.assert_close(here, torch.stack(prefixes), atol=1e-5, rtol=0)


@pytest.fixture
def article() -> LSTMForSequenceClassification:
    torch.manual_seed(0)
    config = LSTMConfig(1000, **get_preset("article").network)
    return LSTMForSequenceClassification(config).eval()


@torch.inference_mode()
def test_the_article_preset_is_the_network_and_the_grid_of_the_article(article):
    x = torch.randint(2, 1000, (50, 200), generator=torch.Generator().manual_seed(0))
    assert article.embedding.weight.shape == (1000, 30)
    embedded = article.embedding(x)
    assert embedded.shape == (50, 200, 30)
    output, (hidden, cell) = article.lstm(embedded, (zero := torch.zeros(1, 50, 512), zero))
    assert output.shape == (50, 200, 512)
    assert hidden.shape == cell.shape == (1, 50, 512)
    assert article.backward_lstm is None
    flat = article.linear(output.reshape(-1, 512))
    assert flat.shape == (10_000, 1)
    out = torch.sigmoid(flat).reshape(50, 200)
    verdicts = article.probabilities(article(x))[:, 1]
    assert out[:, -1].shape == verdicts.shape == (50,)
    torch.testing.assert_close(out[:, -1], verdicts, atol=1e-6, rtol=0)


@torch.inference_mode()
def test_the_last_column_of_the_articles_grid_is_the_verdict_on_short_reviews_too(article):
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(2, 1000, (n,), generator=generator).numpy() for n in range(1, 200, 4)]
    x = torch.from_numpy(pad_rows(rows, 200, side="left"))
    embedded, lengths = article.embed(x)
    grid = torch.sigmoid(article.linear(article.hidden_states(embedded, lengths)[0])).squeeze(-1)
    grid = torch.stack([row.roll(200 - int(n)) for row, n in zip(grid, lengths)])
    assert lengths.tolist() == [len(row) for row in rows]
    verdicts = article.probabilities(article(x))[:, 1]
    torch.testing.assert_close(grid[:, -1], verdicts, atol=1e-6, rtol=0)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_an_empty_row_is_read_as_one_unknown_word(pooling):
    network = build(pooling=pooling)
    ids = torch.tensor([[0, 0, 0], [4, 5, 0], [0, 0, 0]])
    unknown = network(torch.tensor([[1]]))
    for answer in (network(ids), network(ids + 2, ids != 0), network(ids[:1]).repeat(3)):
        torch.testing.assert_close(answer[[0, 2]], unknown.repeat(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(network(ids)[1:2], network(ids[1:2, :2]), atol=1e-5, rtol=0)


def test_rows_without_any_position_are_read_as_one_unknown_word():
    network = build()
    unknown = network(torch.tensor([[1], [1]]))
    torch.testing.assert_close(network(torch.zeros(2, 0, dtype=torch.long)), unknown)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_probabilities_sum_to_one_and_use_the_temperature(temperature):
    two, four = (build(temperature=temperature, **x) for x in ({}, {"id2label": FOUR_LABELS}))
    ids = torch.stack(texts(8, 8, 8, 8))
    expected = torch.sigmoid(two(ids) / temperature)
    torch.testing.assert_close(two.probabilities(two(ids))[:, 1], expected)
    expected = torch.softmax(four(ids) / temperature, dim=-1)
    torch.testing.assert_close(four.probabilities(four(ids)), expected)
    for network in (two, four):
        answers = network.probabilities(network(ids) * 50)
        assert answers.shape == (4, network.config.num_labels)
        torch.testing.assert_close(answers.sum(-1), torch.ones(4))
    assert two.probabilities(two(ids).bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("labels", [[0.0, 1.0, 1.0, 0.0], [0.1, 0.5, 0.95, 0.0]])
def test_the_loss_for_two_labels_is_binary_cross_entropy(labels):
    logits, labels = torch.tensor([-90.0, 0.3, 2.0, 60.0]), torch.tensor(labels)
    network = build()
    expected = binary_cross_entropy_with_logits(logits, labels)
    torch.testing.assert_close(network.loss(logits, labels), expected)


def test_the_loss_for_more_labels_is_cross_entropy():
    network = build(id2label=FOUR_LABELS)
    logits, ids = torch.randn(5, 4) * 3, torch.tensor([0, 3, 1, 2, 2])
    hard = network.loss(logits, one_hot(ids, 4).float())
    torch.testing.assert_close(hard, cross_entropy(logits, ids))
    soft = torch.softmax(torch.randn(5, 4), dim=-1)
    expected = -(soft * torch.log_softmax(logits, dim=-1)).sum(-1).mean()
    torch.testing.assert_close(network.loss(logits, soft), expected)
    assert network.loss(logits.bfloat16(), soft).dtype == torch.float32


def test_dropout_works_only_in_training():
    dropping = build(dropout=0.5, embedding_dropout=0.5, word_dropout=0.5, num_layers=2)
    ids = torch.stack(texts(9, 9, 9))
    torch.testing.assert_close(dropping(ids), build(num_layers=2)(ids), atol=0, rtol=0)
    dropping.train()
    assert not torch.equal(dropping(ids), dropping(ids))
    assert torch.equal(dropping.eval()(ids), dropping(ids))
    head_only = build(dropout=0.5).train()
    assert not torch.equal(head_only(ids), head_only(ids))


def test_word_dropout_drops_whole_words():
    ids = torch.stack(texts(30, 30))
    network = build(word_dropout=0.5).train()
    embedded, whole = network.embed(ids)[0], network.embedding(ids)
    dropped = (embedded == 0).all(-1)
    assert 10 < dropped.sum() < 50
    assert torch.equal(embedded, whole.masked_fill(dropped[..., None], 0))


def test_embedding_dropout_drops_the_same_coordinates_at_every_position_of_a_row():
    ids = torch.stack(texts(9, 9, 9))
    network = build(embedding_dim=40, embedding_dropout=0.5).train()
    factor = network.embed(ids)[0] / network.embedding(ids)
    torch.testing.assert_close(factor, factor[:, :1].expand_as(factor))
    assert set(factor.round().unique().tolist()) == {0.0, 2.0}
    assert not torch.equal(factor[0], factor[1])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_bfloat16_is_close_to_float32(pooling):
    network, ids = build(pooling=pooling), torch.from_numpy(pad_rows(texts(*LENGTHS)))
    exact = network.probabilities(network(ids))
    close = network.probabilities(network.bfloat16()(ids))
    torch.testing.assert_close(close, exact, atol=0.02, rtol=0)
