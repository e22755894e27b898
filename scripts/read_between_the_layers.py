"""Reading between the layers, the article: one batch of reviews through an LSTM, step by step.

    python scripts/read_between_the_layers.py

For a reader who comes from there: the same steps and shapes on today's API. The network is
untrained, as in the article; `sentiment-hf inspect` shows the same of any trained checkpoint.
"""

import torch
from torch import nn

from sentiment_hf import load_reviews, make_loader, train_tokenizer

torch.manual_seed(0)
torch.set_printoptions(precision=4, edgeitems=2, sci_mode=False)

# Tokenize: words become integers, the most frequent first.
reviews = load_reviews("sample")["train"]
tokenizer = train_tokenizer(reviews["text"])
vocab_size = tokenizer.get_vocab_size()
print("Vocabulary size:", vocab_size)

train_loader = make_loader(reviews, tokenizer, batch_size=50, max_length=200)
x, y = next(iter(train_loader))
print("\nX is", x.shape, "\n", x)
print("\ny is", y.shape, "\n", y)

# Embedding: each integer becomes a vector of 30 numbers.
embedding = nn.Embedding(vocab_size, 30)
print("\nEmbedding layer:", embedding)
print("Its weight is", embedding.weight.shape)
embedded = embedding(x)
print("Embedding output is", embedded.shape, "\n", embedded[0, -1])

# LSTM: reads from left to right; hidden and cell state start at zero.
lstm = nn.LSTM(input_size=30, hidden_size=512, num_layers=1, batch_first=True)
h0 = torch.zeros(1, len(x), 512)
c0 = torch.zeros(1, len(x), 512)
lstm_out, (h, c) = lstm(embedded, (h0, c0))
print("\nLSTM output is", lstm_out.shape)
print("Final hidden state is", h.shape)
print("Final cell state is", c.shape)

# Fully connected layer: all positions of all reviews below each other, 512 numbers become one.
flattened = lstm_out.reshape(-1, 512)
print("\nFlattened LSTM output is", flattened.shape)
fc = nn.Linear(512, 1)
fc_out = fc(flattened)
print("Fully connected output is", fc_out.shape)

# Sigmoid: between 0 and 1.
sigmoid_out = torch.sigmoid(fc_out)
print("Sigmoid output is", sigmoid_out.shape)

# Back to one row a review; the reviews are aligned to the right, so the last column has read all.
out = sigmoid_out.reshape(len(x), -1)
print("\nReshaped output is", out.shape)
prediction = out[:, -1]
print("Final sentiment prediction is", prediction.shape, "\n", prediction)
