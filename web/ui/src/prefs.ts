// What this browser remembers: looks and filters, never anything of a message or a secret.

export type Prefs = {
  theme: "auto" | "light" | "dark";
  shoulder: boolean;
  peers: { text: string; chips: string[]; sort: string; down: boolean };
  events: { text: string; kinds: string[] };
  range: "hour" | "day";
};

const KEY = "ironmesh.prefs";
const usual: Prefs = {
  theme: "auto",
  shoulder: false,
  peers: { text: "", chips: [], sort: "name", down: false },
  events: { text: "", kinds: [] },
  range: "hour",
};

function read(): Prefs {
  try {
    const got = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    const p = { ...usual, ...got, peers: { ...usual.peers, ...got.peers }, events: { ...usual.events, ...got.events } };
    if (!Array.isArray(p.peers.chips) || !Array.isArray(p.events.kinds)) return { ...usual };
    return p;
  } catch {
    return { ...usual };
  }
}

export const prefs = read();

export function keep(): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(prefs));
  } catch {
    // A full or forbidden storage only means that nothing is remembered.
  }
  applyTheme();
}

export function applyTheme(): void {
  if (prefs.theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = prefs.theme;
}
