// The playground: asks all columns at once, and shows each answer as it comes, under the name that came with it.
"use strict";

(() => {
  const form = document.getElementById("playground");
  if (!form) return;
  const words = document.getElementById("words").dataset;
  const SLOW_MS = 3000;
  const MOST_TOKENS = 1500; // of a text that is compared: the cost grows with the square

  const find = (id) => document.getElementById(id);
  const say = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const number = (value, digits) =>
    value.toLocaleString(document.documentElement.lang, { maximumFractionDigits: digits });
  const parsed = (text) => (text ? JSON.parse(text) : []);

  class Failure extends Error {
    constructor(message, { code = "", retryAfter = null } = {}) {
      super(message);
      this.code = code;
      this.retryAfter = retryAfter;
    }
  }

  class Column {
    constructor(box) {
      this.box = box;
      this.letter = box.dataset.column;
      this.turns = parsed(this.field("turns").value);
      this.last = parsed(this.field("last").value);
      this.answer = null;
      this.part(".again").addEventListener("click", () => {
        ask(this, { ...bodyOf(this, this.body.messages) }).then(settled);
      });
    }

    part(selector) { return this.box.querySelector(selector); }
    field(name) { return this.part(`[name^="${name}_"]`); }
    fact(name, text) { this.part(`[data-fact="${name}"]`).textContent = text; }
    state(text) { this.part(".state").textContent = text; }
    get isShown() { return !this.box.disabled; }

    show(isShown) {
      this.box.hidden = this.box.disabled = !isShown;
    }

    remember() {
      this.field("turns").value = JSON.stringify(this.turns);
      this.field("last").value = JSON.stringify(this.last);
    }
  }

  const columns = [...form.querySelectorAll(".column")].map((box) => new Column(box));
  const shown = () => columns.filter((column) => column.isShown);

  // What is asked.

  function bodyOf(column, messages) {
    const body = {
      model: column.field("model").value,
      messages: messages ?? messagesOf(column),
      stream: true,
      stream_options: { include_usage: true },
    };
    for (const name of ["temperature", "top_p", "max_tokens", "seed"]) {
      const typed = column.field(name).value;
      if (typed !== "") body[name] = Number(typed);
    }
    const stops = column.field("stop").value.split("\n").filter(Boolean);
    if (stops.length) body.stop = stops.map((stop) => stop.replaceAll("\\n", "\n"));
    if (column.field("format").value === "json_object") body.response_format = { type: "json_object" };
    if (form.tools.value.trim()) body.tools = toolsOf(form.tools.value);
    return body;
  }

  function toolsOf(text) {
    try {
      return JSON.parse(text);
    } catch {
      throw new Failure(words.tools);
    }
  }

  function question() {
    return form.prompt.value.trim() ? [{ role: "user", content: form.prompt.value }] : [];
  }

  function messagesOf(column) {
    const system = form.system.value.trim() ? [{ role: "system", content: form.system.value }] : [];
    const before = [...parsed(form.context.value), ...column.turns];
    const messages = [...system, ...before, ...question()];
    if (!question().length && (!before.length || before.at(-1).role === "assistant")) {
      throw new Failure("", { code: "no_prompt" });
    }
    return messages;
  }

  // Asking.

  async function run() {
    if (!form.reportValidity()) return;
    const asked = shown();
    const goesOn = form.keep.checked;
    const asking = [];
    for (const column of asked) {
      column.turns = goesOn ? [...column.turns, ...column.last] : [];
      column.last = [];
      column.question = question();
      try {
        asking.push(ask(column, bodyOf(column)));
      } catch (error) {
        fail(column, error);
      }
    }
    const sent = form.prompt.value;
    await Promise.all(asking);
    const isAnswered = asked.some((column) => column.answer?.message);
    if (goesOn && isAnswered && form.prompt.value === sent) form.prompt.value = "";
    settled();
  }

  async function ask(column, body) {
    column.controller?.abort();
    const controller = new AbortController();
    column.controller = controller;
    begin(column, body);
    const slow = setTimeout(() => column.state(words.slow), SLOW_MS);
    try {
      await stream(column, body, controller.signal, () => clearTimeout(slow));
    } catch (error) {
      if (column.controller !== controller) return; // asked anew in the meantime
      if (controller.signal.aborted) column.state(words.stopped);
      else fail(column, error);
    } finally {
      clearTimeout(slow);
      if (column.controller === controller) end(column);
    }
  }

  async function stream(column, body, signal, begun) {
    let response = await post(body, signal);
    if (response.status === 403 && (await renewToken())) response = await post(body, signal);
    begun();
    if (!response.ok) throw await failureOf(response);
    column.state(words.streaming);
    let isWhole = false;
    for await (const payload of payloadsOf(response.body)) {
      if (payload === "[DONE]") isWhole = true;
      else take(column, JSON.parse(payload));
    }
    if (!isWhole) throw new Failure(words.broken);
    finish(column);
  }

  let token = null;

  function post(body, signal) {
    const headers = { "content-type": "application/json", "x-csrf-token": token ?? csrfToken, accept: "text/event-stream" };
    return fetch(form.dataset.answers, { method: "POST", signal, headers, body: JSON.stringify(body) });
  }

  // Whoever signed in anew in another tab has another token, and keeps what was typed here.
  async function renewToken() {
    const page = new DOMParser().parseFromString(await (await fetch(form.action)).text(), "text/html");
    const former = token ?? csrfToken;
    token = page.querySelector('meta[name="csrf-token"]').content;
    return token !== former;
  }

  async function* payloadsOf(bytes) {
    const reader = bytes.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) if (line.startsWith("data: ")) yield line.slice(6);
    }
  }

  async function failureOf(response) {
    const isJson = response.headers.get("content-type")?.includes("json");
    if (!isJson) return new Failure(`HTTP ${response.status}`, { code: response.status === 401 ? "signed_out" : "" });
    const { error } = await response.json();
    const wait = response.headers.get("retry-after");
    return new Failure(error.message, { code: error.code, retryAfter: wait === null ? null : Number(wait) });
  }

  // What a column shows.

  function begin(column, body) {
    Object.assign(column, { body, asked: body.model, answer: null, text: "", calls: [], usage: null, finished: null, isWrong: false });
    column.started = performance.now();
    column.first = null;
    clearTimeout(column.timer);
    column.part(".who").textContent = words.unasked;
    for (const name of [".mismatch", ".failure", ".again"]) column.part(name).hidden = true;
    for (const each of column.box.querySelectorAll("[data-fact]")) each.textContent = "–";
    column.node = document.createTextNode("");
    column.part(".said").replaceChildren(column.node);
    showTurns(column);
    column.state(words.waiting);
    form.querySelector("#stop").disabled = false;
    offerVotes();
  }

  function take(column, chunk) {
    if (chunk.error) throw new Failure(chunk.error.message);
    answeredBy(column, chunk.model);
    if (chunk.usage) column.usage = chunk.usage;
    const choice = chunk.choices[0];
    if (!choice) return;
    const said = choice.delta.content ?? "";
    const calls = choice.delta.tool_calls ?? [];
    if (said || calls.length) column.first ??= performance.now();
    column.text += said;
    column.node.appendData(said);
    for (const call of calls) addCall(column.calls, call);
    if (choice.finish_reason) column.finished = choice.finish_reason;
  }

  // The heading is what the answer itself says, never what was asked for.
  function answeredBy(column, name) {
    if (column.answer?.model === name) return;
    column.answer = { model: name };
    column.part(".who").textContent = name;
    if (name === column.asked) return;
    const warning = column.part(".mismatch");
    warning.textContent = say(words.mismatch, { asked: column.asked, answered: name });
    warning.hidden = false;
    column.isWrong = true;
  }

  function addCall(calls, piece) {
    const call = (calls[piece.index] ??= { id: piece.id, type: "function", function: { name: "", arguments: "" } });
    call.function.name += piece.function?.name ?? "";
    call.function.arguments += piece.function?.arguments ?? "";
  }

  function finish(column) {
    const ended = performance.now();
    const called = column.calls.map((call) => `${call.function.name}(${call.function.arguments})`);
    column.said = [column.text, ...called].filter(Boolean).join("\n");
    const message = { role: "assistant", content: column.text || (called.length ? null : "") };
    if (called.length) message.tool_calls = column.calls;
    column.answer = { model: column.answer?.model ?? column.asked, message };
    column.last = [...(column.question ?? []), message];
    column.fact("seconds", `${number((ended - column.started) / 1000, 2)} s`);
    if (column.first) column.fact("first", `${number((column.first - column.started) / 1000, 2)} s`);
    if (column.usage) {
      const { prompt_tokens: read, completion_tokens: written } = column.usage;
      column.fact("tokens", `${number(read, 0)} + ${number(written, 0)}`);
      if (written > 1 && ended - column.first > 5) column.fact("rate", number(((written - 1) * 1000) / (ended - column.first), 1));
    }
    column.fact("finish", column.finished ?? "–");
    column.state(words.done);
  }

  function fail(column, error) {
    const box = column.part(".failure");
    const isLost = error instanceof TypeError; // fetch: nobody answered
    const code = isLost ? "unreachable" : (error.code ?? "");
    const strong = document.createElement("strong");
    strong.textContent = say(words.failed, { asked: column.field("model").value });
    const what = document.createElement("p");
    what.append(strong, " ", isLost ? "" : error.message);
    const why = [...form.querySelectorAll("#words [data-code]")].find((each) => each.dataset.code === code);
    box.replaceChildren(what, ...(why ? [why.cloneNode(true)] : []));
    box.hidden = false;
    column.state("");
    if (column.body) offerAgain(column, error.retryAfter ?? 0);
  }

  function end(column) {
    column.controller = null;
    column.remember();
    if (!column.part(".failure").hidden) return;
    offerAgain(column, 0);
  }

  function offerAgain(column, seconds) {
    const button = column.part(".again");
    const until = Date.now() + seconds * 1000;
    button.hidden = false;
    (function tick() {
      const left = Math.ceil((until - Date.now()) / 1000);
      button.disabled = left > 0;
      button.textContent = left > 0 ? `${words.again} (${left} s)` : words.again;
      if (left > 0) column.timer = setTimeout(tick, 250);
    })();
  }

  function showTurns(column) {
    const turns = column.turns.length || form.keep.checked ? [...column.turns, ...(column.question ?? [])] : [];
    column.part(".turns").replaceChildren(...turns.map((turn) => {
      const line = document.createElement("p");
      const who = document.createElement("b");
      who.textContent = words[turn.role] ?? turn.role;
      line.append(who, " ", typeof turn.content === "string" ? turn.content : JSON.stringify(turn.tool_calls ?? turn.content));
      return line;
    }));
  }

  function settled() {
    if (columns.some((column) => column.controller)) return;
    form.querySelector("#stop").disabled = true;
    mark();
    offerVotes();
  }

  function stop() {
    for (const column of columns) column.controller?.abort();
  }

  // Differences.

  function mark() {
    const answered = shown().filter((column) => column.answer?.message);
    const how = form.compare.value;
    answered.forEach((column, place) => {
      const first = answered[place === 0 ? 1 : 0]?.said;
      const other = how === "reference" ? find("reference")?.textContent : how === "first" ? first : undefined;
      column.part(".said").replaceChildren(...pieces(column.said, other));
    });
  }

  function pieces(text, other) {
    if (other === undefined) return [text];
    const tokens = tokensOf(text);
    const isCommon = common(tokens, tokensOf(other));
    const found = [];
    for (let begin = 0, at = 1; at <= tokens.length; at++) {
      if (at < tokens.length && isCommon[at] === isCommon[begin]) continue;
      const piece = tokens.slice(begin, at).join("");
      if (isCommon[begin] || !piece.trim()) found.push(piece);
      else found.push(Object.assign(document.createElement("mark"), { textContent: piece }));
      begin = at;
    }
    return found;
  }

  function tokensOf(text) {
    return text.match(/\s+|[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]|[\p{L}\p{M}\p{N}_]+|[^]/gu) ?? [];
  }

  // Which of `one` a longest common sequence keeps.
  function common(one, other) {
    const kept = new Array(one.length).fill(false);
    if (Math.max(one.length, other.length) > MOST_TOKENS) return kept.fill(true);
    const width = other.length + 1;
    const best = new Uint16Array((one.length + 1) * width);
    for (let i = one.length - 1; i >= 0; i--) {
      for (let j = other.length - 1; j >= 0; j--) {
        best[i * width + j] = one[i] === other[j]
          ? best[(i + 1) * width + j + 1] + 1
          : Math.max(best[(i + 1) * width + j], best[i * width + j + 1]);
      }
    }
    for (let i = 0, j = 0; i < one.length && j < other.length;) {
      if (one[i] === other[j]) { kept[i] = true; i++; j++; }
      else if (best[(i + 1) * width + j] >= best[i * width + j + 1]) i++;
      else j++;
    }
    return kept;
  }

  // Votes: kept in this browser only, apart for each project.

  const ballot = { key: `retune.votes.${form.dataset.project}`, at: 0, columns: [] };

  function votes() {
    try {
      return JSON.parse(localStorage.getItem(ballot.key)) ?? [];
    } catch {
      return []; // the browser keeps nothing, or somebody else wrote there
    }
  }

  const inputOf = ({ messages, tools }) => ({ messages, ...(tools ? { tools } : {}) });

  function offerVotes() {
    const isAsking = columns.some((column) => column.controller);
    const answered = isAsking ? [] : shown().filter((column) => column.answer?.message && !column.isWrong);
    const inputs = new Set(answered.map((column) => JSON.stringify(inputOf(column.body))));
    const canVote = answered.length > 1 && inputs.size === 1;
    ballot.columns = canVote ? answered : [];
    ballot.at = Date.now();
    find("votes").hidden = !votes().length && answered.length < 2;
    find("ballot").replaceChildren(...ballot.columns.map((column, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.winner = place;
      button.textContent = say(words.better, { letter: column.letter });
      return button;
    }));
    form.querySelector('[data-winner=""]').disabled = !canVote;
    find("voted").textContent = answered.length > 1 && !canVote ? words.incomparable : "";
    countVotes();
  }

  function countVotes() {
    const n = votes().length;
    find("n-votes").textContent = say(words.votes, { n: number(n, 0) });
    find("export").disabled = find("forget").disabled = n === 0;
  }

  function vote(winner) {
    const answers = ballot.columns.map((column) => column.answer);
    const kept = votes().filter((each) => each.at !== ballot.at); // the latest word on these answers counts
    kept.push({ at: ballot.at, input: inputOf(ballot.columns[0].body), answers, winner });
    localStorage.setItem(ballot.key, JSON.stringify(kept));
    find("voted").textContent = words.voted;
    countVotes();
  }

  // OpenAI's preference format. A tie prefers nothing, nor do two answers that are the same.
  function preferences() {
    const rows = votes().filter((each) => each.winner !== null).flatMap(({ input, answers, winner }) => {
      const preferred = answers[winner].message;
      return answers
        .filter((each) => JSON.stringify(each.message) !== JSON.stringify(preferred))
        .map((each) => ({ input, preferred_output: [preferred], non_preferred_output: [each.message] }));
    });
    return rows.map((row) => `${JSON.stringify(row)}\n`).join("");
  }

  function download(name, text) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/jsonl" }));
    link.download = name;
    link.click();
    URL.revokeObjectURL(link.href);
  }

  // Buttons and keys.

  const acts = {
    ask: run,
    add() {
      const next = columns.find((column) => !column.isShown);
      next?.show(true);
      next?.field("model").focus();
    },
    remove(place) {
      if (shown().length < 2) return;
      columns[place].controller?.abort();
      columns[place].show(false);
      settled();
    },
  };

  form.addEventListener("submit", (event) => {
    const [name, place] = (event.submitter?.value ?? "ask").split("_");
    if (!acts[name]) return; // the server's: it renders the page anew
    event.preventDefault();
    acts[name](place);
  });
  form.compare.addEventListener("change", mark);
  form.addEventListener("invalid", (event) => {
    const details = event.target.closest("details");
    if (details) details.open = true;
  }, true);
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    const isRun = event.ctrlKey || event.metaKey;
    const isExample = event.target === form.job || event.target === form.example;
    if (!isRun && !isExample) return;
    event.preventDefault();
    if (isRun) run();
    else form.requestSubmit(form.querySelector('[value="load"]'));
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !document.querySelector("dialog[open]")) stop();
  });
  find("stop").addEventListener("click", stop);
  find("votes").addEventListener("click", (event) => {
    const button = event.target.closest("[data-winner]");
    if (button) vote(button.dataset.winner === "" ? null : Number(button.dataset.winner));
  });
  find("export").addEventListener("click", () => download("preferences.jsonl", preferences()));
  find("forget").addEventListener("click", () => {
    localStorage.removeItem(ballot.key);
    countVotes();
  });

  find("stop").hidden = find("keys").hidden = false;
  offerVotes();
})();
