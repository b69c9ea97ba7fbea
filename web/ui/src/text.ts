// Words from outside made safe to look at, and numbers made readable. Nothing here touches the document.

// What moves, hides or reorders the text around it: controls, bidi marks, zero width, tags, lone surrogates.
const HIDDEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]|\udb40[\udc00-\udc7f]/g;
const MARKS_SHOWN = 200;

/** One line of a name or reason: what hides becomes a visible replacement mark. */
export function oneLine(text: unknown, max = 200): string {
  if (text === null || text === undefined) return "";
  const flat = String(text).slice(0, max + 1).replace(/[\r\n\t]+/g, " ").replace(HIDDEN, "\ufffd");
  return flat.length > max ? flat.slice(0, max) + "…" : flat;
}

/** A body in pieces: plain text, and the code points that hide, by their number. */
export function bodyParts(text: string): (string | { mark: string })[] {
  const out: (string | { mark: string })[] = [];
  let at = 0;
  let marks = 0;
  for (const hit of text.matchAll(HIDDEN)) {
    if (++marks > MARKS_SHOWN) break;
    if (hit.index! > at) out.push(text.slice(at, hit.index));
    out.push({ mark: "U+" + hit[0].codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0") });
    at = hit.index! + hit[0].length;
  }
  if (at < text.length) out.push(text.slice(at).replace(HIDDEN, "\ufffd"));
  return out;
}

export function clean(text: string): string {
  return text.replace(HIDDEN, "\ufffd");
}

/** Cuts a text into lines of at most `width` characters, so that one line of a megabyte is as cheap as any other. */
export function hardWrap(text: string, width: number): string[] {
  const out: string[] = [];
  for (const line of text.split("\n")) {
    if (line.length <= width) {
      out.push(line);
      continue;
    }
    for (let i = 0; i < line.length; ) {
      let end = Math.min(i + width, line.length);
      const last = line.charCodeAt(end - 1);
      if (end < line.length && last >= 0xd800 && last < 0xdc00) end++;
      out.push(line.slice(i, end));
      i = end;
    }
  }
  return out;
}

export function shortId(id: string | null | undefined): string {
  return id ? id.slice(0, 4) + " " + id.slice(4, 8) : "";
}

const UNITS: [number, string][] = [[86400e3, "d"], [3600e3, "h"], [60e3, "min"], [1e3, "s"]];

/** "3 min", "2 h": one unit, rounded down; "now" below a second. */
export function span(ms: number): string {
  for (const [size, word] of UNITS) if (ms >= size) return `${Math.floor(ms / size)} ${word}`;
  return "now";
}

export function ago(at: number, now: number): string {
  if (!at) return "never";
  const ms = now - at;
  if (ms < 5000) return "just now";
  return span(ms) + " ago";
}

export function until(at: number, now: number): string {
  return at <= now ? "now" : "in " + span(at - now);
}

const pad = (n: number) => String(n).padStart(2, "0");

/** Local time with the date, to the second; sorts as text. */
export function absolute(at: number): string {
  const d = new Date(at);
  return `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())} ${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}`;
}

export function clock(at: number): string {
  return absolute(at).slice(11);
}

export function bytes(n: number | null | undefined): string {
  if (n === null || n === undefined) return "–";
  if (n < 1024) return `${n} B`;
  for (const [size, word] of [[1 << 30, "GiB"], [1 << 20, "MiB"], [1 << 10, "KiB"]] as const)
    if (n >= size) return `${(n / size).toFixed(n / size < 10 ? 1 : 0)} ${word}`;
  return "";
}

export function count(n: number | null | undefined): string {
  return n === null || n === undefined ? "–" : n.toLocaleString("en");
}

export function millis(n: number | null | undefined): string {
  if (n === null || n === undefined) return "–";
  return n < 1000 ? `${Math.round(n)} ms` : `${(n / 1000).toFixed(n < 10000 ? 1 : 0)} s`;
}
