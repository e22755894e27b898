// Shows what the network makes of a text. Texts and labels are put into the page as text alone.

import { hasSimd, Reader } from "./reader.js";

const MOST_LABELS_SHOWN = 10;
const MILLISECONDS_BETWEEN_DRAWINGS = 200;

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
    this.showAnswers();
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

start().catch((error) => {
  parts.status.textContent = `The network could not be loaded: ${error.message}`;
});
