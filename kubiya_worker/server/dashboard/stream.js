// Follows an execution: each event of its log once, in order, over as many connections as it takes.

const SLOWEST = 5000; // ms between tries
const SILENCE = 40000; // ms without a byte (a keepalive comes every 15 s): the connection is dead

export function sequenceOf(id) {
  const parts = id.split("_");
  return parts.length > 2 ? Number(parts[parts.length - 2]) || 0 : 0;
}

// When an event was stored, as its id tells (…_NUMBER_MICROSECONDS): events of the control plane itself carry no time.
export function timeOf(id) {
  const micros = Number(id.split("_").pop());
  return micros > 1e15 && micros < 1e16 ? new Date(micros / 1000).toISOString() : undefined;
}

// Frames out of text that arrives in pieces.
export class Parser {
  constructor() {
    this.rest = []; // pieces of a frame that is not complete
  }

  feed(text) {
    // Only the new piece is searched: a frame of megabytes comes in hundreds of pieces.
    const split = this.rest.at(-1)?.endsWith("\n") && text.startsWith("\n");
    if (!split && !text.includes("\n\n")) {
      this.rest.push(text);
      return [];
    }
    const blocks = (this.rest.join("") + text).split("\n\n");
    this.rest = [blocks.pop()];
    return blocks.map(frameOf).filter((frame) => frame.data);
  }
}

function frameOf(block) {
  const frame = { type: "message", id: "", data: "" };
  for (const line of block.split("\n")) {
    const cut = line.indexOf(":");
    if (cut <= 0) continue;
    const value = line.slice(cut + (line[cut + 1] === " " ? 2 : 1));
    const name = line.slice(0, cut);
    if (name === "event") frame.type = value;
    else if (name === "id") frame.id = value;
    else if (name === "data") frame.data += value;
  }
  return frame;
}

// `onEvent(type, data, timestamp, sequence)`; `onState(connected)`; `onEnd(error?)` once: after `done`, or refused for good.
export class Follower {
  // `last`: the number of the event behind which it begins.
  constructor(executionId, { onEvent, onState, onEnd }, last = 0) {
    Object.assign(this, { executionId, onEvent, onState, onEnd, last });
    this.abort = new AbortController();
  }

  stop() {
    this.stopped = true;
    this.abort.abort();
  }

  async run() {
    for (let tries = 0; !this.stopped; ) {
      const before = this.last;
      try {
        const outcome = await this.connection();
        if (this.stopped) return;
        if (outcome !== undefined) return this.onEnd(outcome);
      } catch {
        if (this.stopped) return;
        this.onState(false);
      }
      tries = this.last > before ? 0 : tries + 1;
      await new Promise((resume) => setTimeout(resume, Math.min(SLOWEST, 150 * 2 ** tries)));
    }
  }

  // One connection. null: the log has ended; a text: refused; undefined: connect again.
  async connection() {
    this.abort = new AbortController();
    const last = { "Last-Event-ID": `${this.executionId}_${this.last}_0` };
    const url = `/api/v1/executions/${encodeURIComponent(this.executionId)}/stream`;
    const answer = await fetch(url, { headers: last, signal: this.abort.signal, cache: "no-store" });
    if ([401, 404, 410].includes(answer.status)) return String(answer.status);
    if (!answer.ok) throw new Error(String(answer.status));
    this.onState(true);
    const reader = answer.body.getReader();
    const decoder = new TextDecoder();
    const parser = new Parser();
    for (;;) {
      const watchdog = setTimeout(() => this.abort.abort(), SILENCE);
      const { done, value } = await reader.read().finally(() => clearTimeout(watchdog));
      if (done) return undefined;
      for (const frame of parser.feed(decoder.decode(value, { stream: true }))) {
        if (this.take(frame)) return null;
      }
    }
  }

  take(frame) {
    if (this.stopped) return false;
    const sequence = sequenceOf(frame.id);
    if (sequence && sequence <= this.last) return false;
    let data;
    try {
      data = JSON.parse(frame.data);
    } catch {
      return false;
    }
    const wrapped = data.data && typeof data.data === "object" && "timestamp" in data && Object.keys(data).length === 2;
    this.onEvent(frame.type, wrapped ? data.data : data, data.timestamp || timeOf(frame.id), sequence);
    this.last = Math.max(this.last, sequence);
    return frame.type === "done";
  }
}
