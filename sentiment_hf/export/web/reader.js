// Reads texts with the network that lies beside this file, in the browser of whoever opens the page.

const MOST_POINTS = 200;
// Few enough that prefixes of one batch are of like length, and that the page stays responsive.
const PREFIXES_AT_ONCE = 16;
const WORDS_AT_ONCE = 4000;
// A function with one instruction for vectors.
const SIMD = "0061736d010000000105016000017b030201000a0a0108004100fd0ffd620b";
// What the tokenizer's normalizer changes independently of what stands beside it.
const UNITS = /<(?:br|BR)\s*(?:\/\s*)?>|[\t\n\r -;=-~]+(?!\p{M})|[^]\p{M}*[\uff9e\uff9f]*/gu;

export function hasSimd() {
  const bytes = SIMD.match(/../g).map((byte) => parseInt(byte, 16));
  return typeof WebAssembly === "object" && WebAssembly.validate(new Uint8Array(bytes));
}

async function fetched(name, kind) {
  const response = await fetch(new URL(name, import.meta.url));
  if (!response.ok) throw new Error(`${name}: ${response.status} ${response.statusText}`);
  return response[kind]();
}

/** Compares the graph with the checksum in the configuration, where the browser can compute one. */
async function check(graph, { onnx_sha256: noted }) {
  // Browsers offer cryptography to pages from https and from the visitor's own machine.
  if (!globalThis.crypto?.subtle) return;
  const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", graph));
  const found = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (found !== noted) {
    throw new Error(
      "onnx/model.onnx is damaged or another checkpoint's: its checksum is not the one in" +
        " config.json.",
    );
  }
}

export class Reader {
  /** Loads all that lies beside this file. */
  static async load() {
    const reader = new Reader();
    const [ort, { Tokenizer }, config, vocabulary, settings, graph] = await Promise.all([
      import("./libraries/ort.wasm.bundle.min.js"),
      import("./libraries/tokenizers.min.js"),
      fetched("config.json", "json"),
      fetched("tokenizer.json", "json"),
      fetched("tokenizer_config.json", "json"),
      fetched("onnx/model.onnx", "arrayBuffer"),
    ]);
    await check(graph, config);
    // Several threads would need headers that few static hosts send.
    ort.env.wasm.numThreads = 1;
    reader.session = await ort.InferenceSession.create(new Uint8Array(graph));
    reader.Tensor = ort.Tensor;
    reader.tokenizer = new Tokenizer(vocabulary, settings);
    reader.config = config;
    reader.labels = Array.from({ length: config.num_labels }, (_, i) => config.id2label[i]);
    return reader;
  }

  /**
   * The words of a text: their ids, and where each begins and ends in `shown`. That is the text
   * itself, or the normalized text where the one cannot be followed to the other.
   */
  words(text) {
    // JavaScript, unlike Rust, lower-cases a sigma at the end of a word to a letter of its own.
    const given = text.replaceAll("Σ", "σ");
    const { normalizer, pre_tokenizer: split } = this.tokenizer;
    const normalized = normalizer(given);
    let read = "";
    const begins = [];
    const ends = [];
    for (const { 0: unit, index } of given.matchAll(UNITS)) {
      const made = normalizer(unit);
      for (let i = 0; i < made.length; i++) {
        const one = made.length === unit.length;
        begins.push(index + (one ? i : 0));
        ends.push(index + (one ? i + 1 : unit.length));
      }
      read += made;
    }
    const follows = read === normalized;
    let end = 0;
    let last = 0;
    const places = split(normalized).map((word) => {
      const start = normalized.indexOf(word, end);
      end = start + word.length;
      if (!follows) return [start, end];
      // One sign may be read as several words: ½.
      const place = [Math.max(begins[start], last), ends[end - 1]];
      last = place[1];
      return place;
    });
    return { ids: this.tokenizer.encode(given).ids, places, shown: follows ? text : normalized };
  }

  /** The ids that the network reads of a text: the graph keeps a long one's head and tail. */
  kept(ids) {
    const limit = this.config.max_length;
    if (!limit || ids.length <= limit) return ids;
    const head = Math.floor(limit / 4);
    return [...ids.slice(0, head), ...ids.slice(ids.length - limit + head)];
  }

  /** Probabilities of all labels for each of several lists of ids. */
  async scores(rows) {
    const longest = Math.max(...rows.map((ids) => ids.length));
    const ids = new BigInt64Array(rows.length * longest);
    const mask = new BigInt64Array(rows.length * longest);
    rows.forEach((row, i) =>
      row.forEach((id, j) => {
        ids[i * longest + j] = BigInt(id);
        mask[i * longest + j] = 1n;
      }),
    );
    const shape = [rows.length, longest];
    const { logits } = await this.session.run({
      input_ids: new this.Tensor("int64", ids, shape),
      attention_mask: new this.Tensor("int64", mask, shape),
    });
    const found = logits.data;
    const count = this.labels.length;
    logits.dispose();
    return rows.map((_, i) => softmax(Array.from(found.slice(i * count, (i + 1) * count))));
  }

  /** How many words of `count` have been read at each point, evenly spaced. */
  points(count) {
    const points = Math.min(Math.max(count, 1), MOST_POINTS);
    const step = points > 1 ? (count - 1) / (points - 1) : 0;
    const ends = Array.from({ length: points }, (_, i) => roundHalfToEven(1 + i * step));
    return [...new Set(ends)];
  }

  /** The answers to the first words of a text, as many as each point says, some at a time. */
  async *trajectory(ids) {
    const ends = this.points(ids.length);
    for (let i = 0, size; i < ends.length; i += size) {
      size = Math.max(1, Math.min(PREFIXES_AT_ONCE, Math.floor(WORDS_AT_ONCE / ends[i])));
      yield await this.scores(ends.slice(i, i + size).map((end) => ids.slice(0, end)));
    }
  }
}

function softmax(logits) {
  const largest = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - largest));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}

/** As numpy rounds. */
function roundHalfToEven(value) {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}
