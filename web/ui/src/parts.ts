// The small things that every panel is made of. A state is always an icon and a word.
import { html, svg, nothing, render, type TemplateResult } from "lit/html.js";
import { Fault } from "./api";
import { model, type Line, type Topic } from "./model";
import { absolute, ago, bodyParts, oneLine, shortId, until } from "./text";

/**
 * An element that renders a lit template into itself: one style sheet for all, and labels may point anywhere. However
 * often requestUpdate() is called, it renders once, before the next frame.
 */
export abstract class Panel extends HTMLElement {
  protected topics: Topic[] = [];
  updateComplete: Promise<void> = Promise.resolve();
  private unlisten: (() => void)[] = [];
  private due = false;
  private fresh = true;

  connectedCallback(): void {
    this.also(model.listen(["clock", "connection", ...this.topics], () => this.requestUpdate()));
    this.requestUpdate();
  }
  disconnectedCallback(): void {
    for (const fn of this.unlisten) fn();
    this.unlisten = [];
  }
  protected also(unlisten: () => void): void {
    this.unlisten.push(unlisten);
  }
  requestUpdate(): void {
    if (this.due) return;
    this.due = true;
    this.updateComplete = Promise.resolve().then(() => {
      this.due = false;
      if (!this.isConnected) return;
      this.willUpdate();
      render(this.render(), this);
      if (this.fresh) {
        this.fresh = false;
        this.firstUpdated();
      }
      this.updated();
    });
  }
  protected willUpdate(): void {}
  protected firstUpdated(): void {}
  protected updated(): void {}
  protected abstract render(): TemplateResult;
}

const PATHS: Record<string, string> = {
  check: "M3 8.5l3.2 3.2L13 5",
  checks: "M1.5 8.5l3 3L10 5M7 10.4l1.2 1.1L14.5 5",
  x: "M4 4l8 8M12 4l-8 8",
  clock: "M8 2.2a5.8 5.8 0 100 11.6A5.8 5.8 0 008 2.2M8 5v3.2l2.2 1.4",
  up: "M8 13V3M4 7l4-4 4 4",
  down: "M8 3v10M4 9l4 4 4-4",
  alert: "M8 2.4L14.2 13H1.8zM8 6.4v3.2M8 11.2v.4",
  ban: "M8 2.2a5.8 5.8 0 100 11.6A5.8 5.8 0 008 2.2M4 4l8 8",
  ask: "M5.6 6a2.4 2.4 0 114 1.8C8.6 8.5 8 9 8 10M8 12.4v.4",
  dot: "M8 5.5a2.5 2.5 0 100 5 2.5 2.5 0 000-5",
  ring: "M8 4.5a3.5 3.5 0 100 7 3.5 3.5 0 000-7",
  hold: "M5.5 3.5v9M10.5 3.5v9",
  play: "M5 3.2v9.6L12.5 8z",
  mail: "M2 4h12v8.5H2zM2 4.5l6 4.4 6-4.4",
  copy: "M6 6h7.5v7.5H6zM10 6V2.5H2.5V10H6",
  qr: "M2.5 2.5h4v4h-4zM9.5 2.5h4v4h-4zM2.5 9.5h4v4h-4zM9.5 9.5h1.5M13.5 9.5v2M9.5 12v1.5H12M13.5 13.5v0",
  sun: "M8 5.2a2.8 2.8 0 100 5.6 2.8 2.8 0 000-5.6M8 1.5v1.4M8 13.1v1.4M1.5 8h1.4M13.1 8h1.4M3.4 3.4l1 1M11.6 11.6l1 1M12.6 3.4l-1 1M4.4 11.6l-1 1",
  moon: "M13 9.6A5.4 5.4 0 116.4 3 4.4 4.4 0 0013 9.6",
  half: "M8 2.2a5.8 5.8 0 100 11.6A5.8 5.8 0 008 2.2M8 2.2v11.6M10 3v10M12 4.4v7",
  eye: "M1.5 8S4 3.8 8 3.8 14.5 8 14.5 8 12 12.2 8 12.2 1.5 8 1.5 8M8 6.2a1.8 1.8 0 100 3.6 1.8 1.8 0 000-3.6",
  shut: "M1.5 8S4 3.8 8 3.8 14.5 8 14.5 8 12 12.2 8 12.2 1.5 8 1.5 8M3 13L13 3",
  send: "M2 8l12-5.5L9.5 14 7.6 9z",
  again: "M13 8a5 5 0 11-1.5-3.6M13 2.5v2.6h-2.6",
  relay: "M2 8h3M11 8h3M8 5a3 3 0 100 6 3 3 0 000-6",
  shield: "M8 2l5 1.8V8c0 3-2.2 5-5 6-2.8-1-5-3-5-6V3.8z",
  right: "M6 3.5L10.5 8 6 12.5",
  left: "M10 3.5L5.5 8l4.5 4.5",
  search: "M7 2.8a4.2 4.2 0 100 8.4 4.2 4.2 0 000-8.4M10.2 10.2l3.3 3.3",
  info: "M8 2.2a5.8 5.8 0 100 11.6A5.8 5.8 0 008 2.2M8 7.4v3.6M8 5v.4",
};

export function icon(name: string): TemplateResult {
  return html`<svg class=${name === "dot" ? "icon full" : "icon"} viewBox="0 0 16 16" aria-hidden="true" focusable="false">${svg`<path d=${PATHS[name] ?? PATHS.dot} />`}</svg>`;
}

type Tone = "ok" | "warn" | "bad" | "calm" | "accent";
const STATES: Record<string, [string, Tone]> = {
  queued: ["clock", "calm"], accepted: ["clock", "calm"], handed: ["up", "calm"], sent: ["up", "calm"], stored: ["relay", "calm"],
  retried: ["again", "warn"], delivered: ["check", "ok"], read: ["checks", "ok"], failed: ["x", "bad"], expired: ["clock", "bad"],
  rejected: ["ban", "bad"], cancelled: ["ban", "calm"], unknown: ["ask", "warn"], new: ["mail", "accent"], received: ["down", "calm"],
  held: ["hold", "warn"], released: ["play", "calm"],
  trusted: ["shield", "ok"], pending: ["ask", "warn"], "pending-cap-change": ["alert", "warn"], blocked: ["ban", "bad"], revoked: ["x", "bad"],
  online: ["dot", "ok"], offline: ["ring", "calm"], ok: ["check", "ok"], warning: ["alert", "warn"], error: ["x", "bad"], info: ["info", "calm"],
  up: ["check", "ok"], down: ["x", "bad"], starting: ["clock", "warn"], off: ["ring", "calm"],
};
const WORDS: Record<string, string> = { "pending-cap-change": "changed", error: "problem" };

export function state(word: string, title?: string | null): TemplateResult {
  const [picture, tone] = STATES[word] ?? ["dot", "calm"];
  return html`<span class="state ${tone}" title=${title || nothing}>${icon(picture)}<span>${WORDS[word] ?? oneLine(word, 40)}</span></span>`;
}

/** Text of a peer: kept apart from what stands around it, whatever its direction. */
export function foreign(text: unknown, max = 200): TemplateResult {
  return html`<bdi>${oneLine(text, max)}</bdi>`;
}

export function body(text: string): unknown[] {
  return bodyParts(text).map((p) => (typeof p === "string" ? p : html`<span class="mark" title="a character that hides">${p.mark}</span>`));
}

export function when(at: number, future = false): TemplateResult {
  if (!at) return html`<span class="dim">–</span>`;
  const now = model.now();
  return html`<time datetime=${new Date(at).toISOString()} title=${absolute(at)}>${future ? until(at, now) : ago(at, now)}</time>`;
}

export function peerName(label: string, id: string | null, unsafe = false): TemplateResult {
  return html`<span class="who"><bdi>${oneLine(label, 80)}</bdi>${id ? html` <code class="fp">${shortId(id)}</code>` : nothing}${
 unsafe ? html` <span class="state warn" title="This name looks like another peer's: compare the fingerprint.">${icon("alert")}<span>look-alike</span></span>` : nothing}</span>`;
}

export function command(text: string): TemplateResult {
  return html`<span class="command"><code>${text}</code>${copyButton(text, "Copy the command")}</span>`;
}

export function copyButton(text: string, label: string): TemplateResult {
  return html`<button type="button" class="quiet small" title=${label} aria-label=${label} @click=${() => copy(text)}>${icon("copy")}</button>`;
}

export async function copy(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    say("Copied.");
  } catch {
    say("This browser does not let the page copy; select the text instead.", "bad");
  }
}

/** What an event says besides its type. */
export function said(l: Line): string {
  const parts = [l.type === "audit" ? "in the audit log" : l.reason, l.via && `via ${l.via}`, l.address && `at ${l.address}`];
  return parts.filter(Boolean).map((p) => oneLine(p, 240)).join(", ");
}

/** What is true when there is nothing to show, and what to do next. */
export function empty(title: string, text: unknown, next?: string): TemplateResult {
  return html`<div class="empty"><p class="title">${title}</p><p>${text}</p>${next ? html`<p>${command(next)}</p>` : nothing}</div>`;
}

export function faultCard(f: { what: string; means: string; next: string }): TemplateResult {
  return html`<div class="fault"><p class="title">${icon("alert")} ${oneLine(f.what, 400)}</p>${f.means ? html`<p>${oneLine(f.means, 600)}</p>` : nothing}${
    f.next ? html`<p>Next: ${command(oneLine(f.next, 300))}</p>` : nothing}</div>`;
}

// --- what the page says, and what it asks ---------------------------------------------------------------------

export type Notice = { n: number; text: string; tone: Tone; fault?: Fault };
export type Question = { title: string; text: string; yes: string; answer: (yes: boolean) => void };
export const notices: Notice[] = [];
export let question: Question | null = null;
let last = 0;
let redraw: () => void = () => {};
export function onSay(fn: () => void): void {
  redraw = fn;
}

export function say(text: string, tone: Tone = "calm"): void {
  const n = ++last;
  notices.push({ n, text, tone });
  if (notices.length > 3) notices.shift();
  setTimeout(() => dismiss(n), 6000);
  redraw();
}
/** Stays until it is dismissed: an error is to be read, not caught. */
export function complain(problem: unknown): void {
  const fault = problem instanceof Fault ? problem : new Fault(String((problem as Error)?.message ?? problem), "", "", "", 0);
  notices.push({ n: ++last, text: fault.what, tone: "bad", fault });
  if (notices.length > 3) notices.shift();
  redraw();
}
export function dismiss(n: number): void {
  const i = notices.findIndex((x) => x.n === n);
  if (i >= 0) notices.splice(i, 1);
  redraw();
}
export function ask(title: string, text: string, yes: string): Promise<boolean> {
  question?.answer(false);
  return new Promise((done) => {
    question = {
      title, text, yes,
      answer: (value) => {
        question = null;
        redraw();
        done(value);
      },
    };
    redraw();
  });
}
