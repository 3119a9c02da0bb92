/** The text of `--help`: usage, summary, flags by group in the order of the specification. */

import type { Command } from "./command.ts";
import type { Flag } from "./flags.ts";

const WIDTH = 100;
/** Where help texts begin. A flag that is longer puts its text on the next line. */
const COLUMN = 34;

export function commandHelp(command: Command): string {
  const positional = command.positional === undefined ? "" : ` ${command.positional}`;
  const lines = [
    `usage: torus ${command.name} [flags]${positional}`,
    "",
    sentence(command.summary),
  ];
  const groups = new Map<string, [string, Flag<unknown>][]>();
  for (const [name, flag] of Object.entries(command.flags)) {
    if (flag.hidden) continue;
    groups.set(flag.group, [...(groups.get(flag.group) ?? []), [name, flag]]);
  }
  for (const [heading, flags] of groups) {
    lines.push("", `${heading === "" ? "Flags" : heading}:`);
    for (const [name, flag] of flags) lines.push(...flagHelp(name, flag));
  }
  lines.push("", "Other:", ...entry("--help, -h", "Show this text."));
  lines.push(...entry("--version", "Show the version."));
  return `${lines.join("\n")}\n`;
}

/** @param commands Name and summary, in order. */
export function overviewHelp(commands: readonly (readonly [string, string])[]): string {
  const lines = [
    "usage: torus COMMAND [flags]",
    "",
    "A horizontally scaled receive cluster for Prometheus metrics.",
    "",
    "Commands:",
  ];
  for (const [name, summary] of commands) lines.push(...entry(name, sentence(summary)));
  lines.push("", "Flags of a command: torus COMMAND --help. Version: torus --version.");
  return `${lines.join("\n")}\n`;
}

function flagHelp(name: string, flag: Flag<unknown>): string[] {
  const shownDefault = flag.defaultText !== undefined && flag.defaultText !== "";
  if (flag.placeholder === "") {
    const on = flag.defaultText === "true";
    return entry(`--[no-]${name}`, on ? `${flag.help} Default: on.` : flag.help);
  }
  const notes = [flag.help];
  if (flag.required) notes.push("Required.");
  if (flag.repeatable && !flag.help.includes("may be repeated")) notes.push("May be repeated.");
  if (shownDefault) notes.push(`Default: ${flag.defaultText}.`);
  return entry(`--${name}=${flag.placeholder}`, notes.join(" "));
}

function entry(left: string, text: string): string[] {
  const lines: string[] = [];
  let line = `  ${left}`;
  if (line.length + 2 > COLUMN) {
    lines.push(line);
    line = "";
  }
  line = line.padEnd(COLUMN);
  for (const word of text.split(" ")) {
    if (line.length + 1 + word.length > WIDTH && line.trim() !== "") {
      lines.push(line.trimEnd());
      line = " ".repeat(COLUMN);
    }
    line += line.length === COLUMN ? word : ` ${word}`;
  }
  lines.push(line.trimEnd());
  return lines;
}

function sentence(summary: string): string {
  return `${summary.slice(0, 1).toUpperCase()}${summary.slice(1)}.`;
}
