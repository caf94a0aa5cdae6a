"""A page on which one person labels: self-contained, keyboard driven, no network; answers are kept
in the browser as they are given, without any text, until they are saved as a file.

Belongs here: the page. Does not: what is on it (orchestration), reading the file that it
saves (grading.labels).
"""

from collections.abc import Mapping, Sequence

from sim_platform.contracts.escaping import script_json
from sim_platform.contracts.messages import sha256


def label_page(rows: Sequence[Mapping[str, object]]) -> str:
    """HTML for the rows of `labels export`. Text is set as text, never as markup."""
    names = [[str(row[name]) for name in ("item_id", "behavior", "grader_hash")] for row in rows]
    page = PAGE.replace("__KEY__", f"labels {sha256(names)}")
    return page.replace("__ROWS__", script_json(list(rows)))


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Labels</title>
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 1rem auto; padding: 0 1rem;
  color: #1b1f24 }
.message { border-left: 3px solid #c5ccd3; padding: .2rem .8rem; margin: .6rem 0;
  white-space: pre-wrap; overflow-wrap: anywhere }
.response { border-color: #33658a; background: #f2f6fa }
.role { color: #5a636d; font-size: .85rem }
button { font: inherit; padding: .4rem .9rem; margin-right: .4rem }
button[aria-pressed=true] { outline: 3px solid #33658a }
nav { position: sticky; bottom: 0; background: #fff; padding: .7rem 0;
  border-top: 1px solid #d5dae0 }
</style></head><body>
<h1 id="question"></h1><p id="definition"></p><p id="place" aria-live="polite"></p>
<main id="conversation"></main>
<nav><button id="yes">Yes (1 or y)</button><button id="no">No (0 or n)</button>
<button id="abstain">Abstain (a)</button>
<button id="back">Back (←)</button><button id="next">Next (→)</button>
<label>Your name <input id="annotator" size="12"></label> <button id="save">Save (s)</button></nav>
<script>
"use strict";
const rows = __ROWS__, said = {}, place = "__KEY__";
let at = 0, kept = true;
const element = id => document.getElementById(id);
function keep() {
  try {
    localStorage.setItem(place, JSON.stringify({said, at, name: element("annotator").value}));
    kept = true;
  } catch { kept = false; }
}
function find() {
  try {
    const before = JSON.parse(localStorage.getItem(place));
    if (!before) return;
    for (const [i, value] of Object.entries(before.said))
      if (rows[i] && ["1", "0", "ABSTAIN"].includes(value)) said[i] = value;
    at = Math.max(0, Math.min(rows.length - 1, Number(before.at) || 0));
    element("annotator").value = before.name || "";
  } catch { kept = false; }
}
function show(text, role, kind) {
  const box = document.createElement("div"), head = document.createElement("div");
  box.className = "message " + kind; head.className = "role"; head.textContent = role;
  box.append(head, document.createTextNode(text)); element("conversation").append(box);
}
function text(content) {
  return Array.isArray(content) ? content.map(p => p.text).join("\\n") : content || "";
}
function draw() {
  const row = rows[at];
  element("conversation").replaceChildren();
  if (!row) { element("place").textContent = "There is nothing to label."; return; }
  element("question").textContent = row.behavior.replaceAll("_", " ") + "?";
  element("definition").textContent = row.definition;
  const done = Object.keys(said).length;
  element("place").textContent = `item ${at + 1} of ${rows.length}, ${done} labelled`
    + (kept ? "" : "; this browser keeps nothing: save before you close it");
  for (const m of JSON.parse(row.prompt))
    show(text(m.content) + (m.tool_calls ? "\\n" + JSON.stringify(m.tool_calls) : ""), m.role, "");
  show(text(row.response) + (row.tool_calls.length ? "\\n" + JSON.stringify(row.tool_calls) : ""),
    "response to label", "response");
  for (const [id, value] of [["yes", "1"], ["no", "0"], ["abstain", "ABSTAIN"]])
    element(id).setAttribute("aria-pressed", said[at] === value);
  scrollTo(0, document.body.scrollHeight);
}
function go(step) { at = Math.max(0, Math.min(rows.length - 1, at + step)); keep(); draw(); }
function say(value) { if (rows[at]) { said[at] = value; go(1); } }
function save() {
  const name = element("annotator").value.trim();
  const lines = rows.map((r, i) => [r, said[i]]).filter(([, v]) => v !== undefined)
    .map(([r, v]) => JSON.stringify({item_id: r.item_id, behavior: r.behavior, label: v,
      annotator: name, grader_hash: r.grader_hash}));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(
    new Blob([lines.join("\\n") + "\\n"], {type: "application/jsonl"}));
  link.download = "labels.jsonl"; link.click();
}
const keys = {
  "1": () => say("1"), y: () => say("1"), "0": () => say("0"), n: () => say("0"),
  a: () => say("ABSTAIN"), ArrowLeft: () => go(-1), ArrowRight: () => go(1), s: save};
addEventListener("keydown", e => {
  if (e.target.tagName !== "INPUT" && !e.ctrlKey && !e.metaKey && keys[e.key]) {
    e.preventDefault(); keys[e.key]();
  }
});
element("yes").onclick = () => say("1"); element("no").onclick = () => say("0");
element("abstain").onclick = () => say("ABSTAIN");
element("back").onclick = () => go(-1); element("next").onclick = () => go(1);
element("save").onclick = save;
element("annotator").oninput = keep;
addEventListener("beforeunload", e => {
  if (Object.keys(said).length && !kept) e.preventDefault();
});
find();
draw();
</script></body></html>
"""
