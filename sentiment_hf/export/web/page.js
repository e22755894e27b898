// Reads texts with the network that lies beside this page, in the browser of whoever looks at it.
// The first half computes and knows of no page; the second half shows what it finds.

const MOST_POINTS = 200;
// Few enough that prefixes of one batch are of like length, and that the page stays responsive.
const PREFIXES_AT_ONCE = 16;
const WORDS_AT_ONCE = 4000;
const MOST_LABELS_SHOWN = 10;
const MILLISECONDS_BETWEEN_DRAWINGS = 200;
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

// The page.

const parts = {};

function show(name, ...content) {
  parts[name].replaceChildren(...content);
  parts[name].hidden = false;
}

function made(tag, { text, className, ...properties } = {}, ...children) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  Object.assign(element, properties);
  element.append(...children);
  return element;
}

const percent = (score) => `${(100 * score).toFixed(1)} %`;
const pause = () => new Promise((done) => setTimeout(done));

/** One text on the page: its verdict at once, then the answer after each word. */
class Reading {
  constructor(reader, text) {
    this.reader = reader;
    Object.assign(this, reader.words(text));
    this.ends = reader.points(this.ids.length);
    this.answers = [];
  }

  show(scores) {
    this.scores = scores;
    const order = scores.map((_, i) => i).sort((a, b) => scores[b] - scores[a]);
    this.shownLabels = order.slice(0, MOST_LABELS_SHOWN);
    this.best = order[0];
    // Of two labels the curve belongs to the second, of more to the one that is chosen.
    this.chosen = scores.length === 2 ? 1 : this.best;
    this.showVerdict();
    this.showNotes();
    this.showWords();
    parts.reading.hidden = false;
  }

  showVerdict() {
    const { labels } = this.reader;
    show("label", labels[this.best]);
    const rows = this.shownLabels.map((i) => {
      const share = made("span");
      share.style.width = `${100 * this.scores[i]}%`;
      const choice = made("input", { type: "radio", name: "label", checked: i === this.chosen });
      choice.addEventListener("change", () => this.choose(i));
      const row = made(
        "label",
        {},
        ...(labels.length > 2 ? [choice] : []),
        made("bdi", { text: labels[i] }),
        made("span", { className: "share", text: percent(this.scores[i]) }),
        made("span", { className: "bar" }, share),
      );
      if (labels.length === 2) share.className = ["first", "second"][i];
      return made("li", {}, row);
    });
    show("labels", ...rows);
    parts.verdict.dataset.label = labels[this.best];
    parts.verdict.dataset.score = this.scores[this.best];
    parts.verdict.hidden = false;
  }

  showNotes() {
    const { ids, reader } = this;
    const kept = reader.kept(ids);
    const unknown = kept.filter((id) => id === reader.config.unk_token_id).length;
    const notes = [];
    const number = (count) => count.toLocaleString("en");
    if (!ids.length) {
      notes.push("There is nothing to read: this is the answer to one unknown word.");
    } else if (unknown === kept.length) {
      notes.push("The network knows none of these words: its verdict says nothing of them.");
    } else if (unknown) {
      const all = number(kept.length);
      notes.push(`The network does not know ${number(unknown)} of the ${all} words it reads.`);
    }
    if (kept.length < ids.length) {
      notes.unshift(
        `The text has ${number(ids.length)} words: the network reads ${number(kept.length)} of` +
          " them, the beginning and the end.",
      );
    }
    show("notes", ...notes.map((text) => made("p", { text })));
    parts.dotted.hidden = !ids.includes(reader.config.unk_token_id);
  }

  /** The text with a span for each point: all that was read since the point before. */
  showWords() {
    const unknown = this.reader.config.unk_token_id;
    const content = [];
    this.spans = [];
    let place = 0;
    let word = 0;
    for (const end of this.ids.length ? this.ends : []) {
      const span = made("span");
      content.push(this.between(place, this.places[word][0]), span);
      place = this.places[word][0];
      for (; word < end; word++) {
        const [start, stop] = this.places[word];
        const text = this.shown.slice(start, stop);
        const isUnknown = text && this.ids[word] === unknown;
        span.append(this.between(place, start), isUnknown ? made("u", { text }) : text);
        place = stop;
      }
      span.dataset.point = this.spans.length;
      this.spans.push(span);
    }
    show("words", ...content);
    Object.assign(parts.place, { max: this.ends.length, value: this.ends.length });
    parts.place.disabled = true;
    parts.point.textContent = "";
    this.showSides();
  }

  between(start, end) {
    return this.shown.slice(start, end).replace(/<br\s*(?:\/\s*)?>/gi, "\n");
  }

  showSides() {
    const { labels } = this.reader;
    const chosen = labels[this.chosen];
    const other = labels.length === 2 ? labels[0] : `not ${chosen}`;
    for (const name of ["top", "second"]) parts[name].textContent = chosen;
    for (const name of ["bottom", "first"]) parts[name].textContent = other;
  }

  choose(label) {
    this.chosen = label;
    this.showSides();
    this.showAnswers();
    this.showPoint();
  }

  /** The curve and the colours of the words, as far as they are known. */
  showAnswers() {
    const { answers, chosen, ends } = this;
    const across = (i) => (ends.length > 1 ? (100 * i) / (ends.length - 1) : 100 * i);
    const line = (label) => {
      const known = answers.length === 1 ? [...answers, ...answers] : answers;
      const corners = known.map((scores, i) => `${across(i)},${100 - 100 * scores[label]}`);
      return shape("polyline", { points: corners.join(" ") });
    };
    const others = this.reader.labels.length > 2 ? this.shownLabels : [];
    const curve = line(chosen);
    curve.setAttribute("class", "chosen");
    this.cursor = shape("line", { y1: 0, y2: 100, class: "cursor" });
    show("curve", shape("line", { x1: 0, x2: 100, y1: 50, y2: 50 }), ...others.map(line), curve);
    const label = this.reader.labels[chosen];
    parts.curve.setAttribute("aria-label", `The probability of ${label} after each word`);
    answers.forEach((scores, i) => {
      if (!this.spans[i]) return;
      const value = 2 * scores[chosen] - 1;
      const { style } = this.spans[i];
      style.setProperty("--side", `var(--${value >= 0 ? "second" : "first"})`);
      style.setProperty("--strength", (0.6 * Math.abs(value)).toFixed(2));
      this.spans[i].title = scores[chosen].toFixed(3);
    });
  }

  /** What is known at the place that was chosen on the curve. */
  showPoint() {
    if (this.answers.length < this.ends.length) return;
    const i = parts.place.value - 1;
    const x = this.ends.length > 1 ? (100 * i) / (this.ends.length - 1) : 100;
    for (const name of ["x1", "x2"]) this.cursor.setAttribute(name, x);
    parts.curve.append(this.cursor);
    this.spans.forEach((span, j) => span.classList.toggle("here", i === j));
    const word = this.spans[i]?.textContent ?? "";
    const label = this.reader.labels[this.chosen];
    const said = `${label} ${percent(this.answers[i][this.chosen])}`;
    parts.point.textContent = word ? `after “${word.slice(-60)}”: ${said}` : said;
    parts.place.setAttribute("aria-valuetext", parts.point.textContent);
  }
}

function shape(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

let reading;

async function read(reader, text) {
  const mine = (reading = new Reading(reader, text));
  delete parts.verdict.dataset.label;
  delete parts.verdict.dataset.score;
  parts.link.href = `#${new URLSearchParams({ text })}`;
  parts.status.textContent = "";
  const [scores] = await reader.scores([mine.ids]);
  if (reading !== mine) return;
  mine.show(scores);
  await pause();
  let drawn = performance.now();
  for await (const answers of reader.trajectory(mine.ids)) {
    mine.answers.push(...answers);
    if (performance.now() - drawn < MILLISECONDS_BETWEEN_DRAWINGS) continue;
    mine.showAnswers();
    await pause();
    if (reading !== mine) return;
    drawn = performance.now();
  }
  mine.showAnswers();
  parts.place.disabled = false;
  mine.showPoint();
}

async function start() {
  for (const element of document.querySelectorAll("[id]")) parts[element.id] = element;
  parts.status.className = "started";
  if (!hasSimd()) {
    parts.status.textContent =
      "This browser cannot run the network: it takes WebAssembly with SIMD, which Chrome and Edge" +
      " have from version 91 on, Firefox from 89, Safari from 16.4.";
    return;
  }
  parts.status.textContent = "Loading the network …";
  const reader = await Reader.load();
  parts.status.textContent = "";
  const failed = (error) => (parts.status.textContent = `That went wrong: ${error.message}`);
  const readNow = (text) => read(reader, text).catch(failed);
  const readLink = () => {
    const text = new URLSearchParams(location.hash.slice(1)).get("text");
    if (text !== null) readNow((parts.text.value = text));
    return text !== null;
  };
  const submit = () => {
    readNow(parts.text.value);
    history.replaceState(null, "", parts.link.href);
  };
  parts.read.disabled = false;
  parts.form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  parts.text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit();
  });
  window.addEventListener("hashchange", readLink);
  parts.place.addEventListener("input", () => reading.showPoint());
  parts.words.addEventListener("click", ({ target }) => {
    const point = target.closest("[data-point]");
    if (!point || parts.place.disabled) return;
    parts.place.value = Number(point.dataset.point) + 1;
    reading.showPoint();
  });
  const examples = [...parts.examples.querySelectorAll("button")];
  for (const example of examples) {
    example.addEventListener("click", () => {
      parts.text.value = example.textContent;
      submit();
    });
  }
  // The examples are reviews in English.
  parts.examples.hidden = reader.labels.join() !== "neg,pos";
  if (!readLink() && !parts.examples.hidden) {
    readNow((parts.text.value = examples[0].textContent));
  }
}

if (document.querySelector("[data-verdict]")) {
  start().catch((error) => {
    parts.status.textContent = `The network could not be loaded: ${error.message}`;
  });
}
