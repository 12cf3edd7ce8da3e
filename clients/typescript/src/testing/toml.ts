// The server's configuration as a file.

/** A value of a setting. */
export type SettingValue = string | number | boolean | readonly SettingValue[];

/** Settings as tables within tables, as docs/reference/configuration.md lists them. */
export interface Settings {
  [key: string]: SettingValue | Settings | undefined;
}

function isTable(value: SettingValue | Settings): value is Settings {
  return typeof value === "object" && !Array.isArray(value);
}

/** `more` over `base`, table by table. */
export function mergeSettings(base: Settings, more: Settings): Settings {
  const merged = { ...base };
  for (const [key, value] of Object.entries(more)) {
    const old = merged[key];
    const both = value !== undefined && isTable(value) && old !== undefined && isTable(old);
    merged[key] = both ? mergeSettings(old, value) : value;
  }
  return merged;
}

// A text in JSON is a basic string of TOML: both escape in the same ways.
const quoted = (text: string) => JSON.stringify(text).replaceAll("\x7f", "\\u007f");

function valueText(value: SettingValue): string {
  if (typeof value === "string") {
    return quoted(value);
  }
  return typeof value === "object" ? `[${value.map(valueText).join(", ")}]` : String(value);
}

function* lines(settings: Settings, path: string[]): Generator<string> {
  for (const [key, value] of Object.entries(settings)) {
    if (value === undefined) {
      continue;
    }
    const place = [...path, quoted(key)];
    if (isTable(value)) {
      yield* lines(value, place);
    } else {
      yield `${place.join(".")} = ${valueText(value)}`;
    }
  }
}

/** The settings as a TOML document. */
export function toToml(settings: Settings): string {
  return [...lines(settings, []), ""].join("\n");
}
