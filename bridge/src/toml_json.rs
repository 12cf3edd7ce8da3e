//! TOML text to JSON, with the line of every key (sdbx_toml.h).

use crate::buf::Buf;
use crate::error::{EINVAL, OK};
use crate::ffi::{guard, set, set_text, slice};
use serde_json::{json, Map, Value};
use toml::de::{DeTable, DeValue};
use toml::Spanned;

const TEXT_BYTES_MAX: usize = 4 << 20; // SDBX_TOML_BYTES_MAX

struct Place {
    line: u32,
    column: u32,
    message: String,
}

/// Where each line starts, to turn offsets into lines.
struct Lines(Vec<usize>);

impl Lines {
    fn new(text: &str) -> Lines {
        let after_newlines = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1);
        Lines(std::iter::once(0).chain(after_newlines).collect())
    }

    fn line(&self, offset: usize) -> u32 {
        self.0.partition_point(|&start| start <= offset) as u32
    }

    fn column(&self, text: &str, offset: usize) -> u32 {
        let start = self.0[self.line(offset) as usize - 1];
        text.get(start..offset).map_or(1, |part| part.chars().count() as u32 + 1)
    }
}

fn is_bare(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn join(path: &str, key: &str) -> String {
    let key = if is_bare(key) { key.to_string() } else { Value::from(key).to_string() };
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}

struct Walk {
    starts: Lines,
    lines: Map<String, Value>,
}

type Bad = (std::ops::Range<usize>, &'static str);

impl Walk {
    fn table(&mut self, table: &DeTable<'_>, path: &str) -> Result<Value, Bad> {
        let mut out = Map::new();
        for (key, value) in table {
            let place = join(path, key.get_ref());
            self.lines.insert(place.clone(), json!(self.starts.line(key.span().start)));
            out.insert(key.get_ref().to_string(), self.value(value, &place)?);
        }
        Ok(Value::Object(out))
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, path: &str) -> Result<Value, Bad> {
        let bad = |text| (value.span(), text);
        Ok(match value.get_ref() {
            DeValue::String(text) => json!(text.as_ref()),
            DeValue::Boolean(flag) => json!(flag),
            DeValue::Datetime(time) => json!(time.to_string()),
            DeValue::Integer(number) => {
                let parsed = i64::from_str_radix(number.as_str(), number.radix());
                json!(parsed.map_err(|_| bad("the number does not fit 64 bits"))?)
            }
            DeValue::Float(number) => {
                let parsed: f64 = number.as_str().parse().map_err(|_| bad("not a number"))?;
                match serde_json::Number::from_f64(parsed) {
                    Some(number) => Value::Number(number),
                    None if parsed.is_nan() => json!("nan"),
                    None => json!(if parsed > 0.0 { "inf" } else { "-inf" }),
                }
            }
            DeValue::Array(items) => {
                let mut out = Vec::new();
                for (i, item) in items.iter().enumerate() {
                    let place = format!("{path}[{i}]");
                    self.lines.insert(place.clone(), json!(self.starts.line(item.span().start)));
                    out.push(self.value(item, &place)?);
                }
                Value::Array(out)
            }
            DeValue::Table(table) => self.table(table, path)?,
        })
    }
}

fn convert(text: &str) -> Result<Value, Place> {
    let starts = Lines::new(text);
    let place_of = |starts: &Lines, offset: usize, message: &str| Place {
        line: starts.line(offset.min(text.len())),
        column: starts.column(text, offset.min(text.len())),
        message: message.to_string(),
    };
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let offset = error.span().map_or(0, |span| span.start);
            return Err(place_of(&starts, offset, error.message()));
        }
    };
    let mut walk = Walk { starts, lines: Map::new() };
    match walk.table(document.get_ref(), "") {
        Ok(value) => Ok(json!({"value": value, "lines": walk.lines})),
        Err((span, message)) => Err(place_of(&walk.starts, span.start, message)),
    }
}

fn run(text: &[u8]) -> Result<Value, Place> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Place { line: 1, column: 1, message: format!("more than {TEXT_BYTES_MAX} bytes") });
    }
    match std::str::from_utf8(text) {
        Ok(text) => convert(text),
        Err(error) => {
            let good = &text[..error.valid_up_to()];
            let line = good.iter().filter(|b| **b == b'\n').count() as u32 + 1;
            Err(Place { line, column: 1, message: "not UTF-8".to_string() })
        }
    }
}

/// # Safety
/// See sdbx_toml.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_toml_to_json(
    text: *const u8,
    text_len: usize,
    ret_json: *mut Buf,
    ret_err: *mut Buf,
    ret_line: *mut u32,
    ret_column: *mut u32,
) -> i32 {
    guard(|| {
        let Ok(text) = slice(text, text_len) else { return EINVAL };
        match run(text) {
            Ok(value) => {
                set_text(ret_json, value.to_string());
                OK
            }
            Err(place) => {
                let line = format!("line {}, column {}: {}", place.line, place.column, place.message);
                set_text(ret_err, line);
                set(ret_line, place.line);
                set(ret_column, place.column);
                EINVAL
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(text: &str) -> Value {
        convert(text).map_err(|p| p.message).unwrap()
    }

    #[test]
    fn keys_have_their_lines() {
        let text =
            "# head\ntitle = \"x\"\n\n[server]\naddr = \"a\" # c\nlimits.max = 5\n\n[[shards]]\nid = 1\n\
                    [[shards]]\nid = 2\n\"b.c\" = [1,\n 2]\n";
        let out = good(text);
        let lines = &out["lines"];
        for (key, line) in [
            ("title", 2),
            ("server", 4),
            ("server.addr", 5),
            ("server.limits", 6),
            ("server.limits.max", 6),
            ("shards[0].id", 9),
            ("shards[1].id", 11),
            ("shards[1].\"b.c\"", 12),
            ("shards[1].\"b.c\"[1]", 13),
        ] {
            assert_eq!(lines[key], json!(line), "{key} in {lines}");
        }
        assert_eq!(out["value"]["server"]["limits"]["max"], json!(5));
        assert_eq!(out["value"]["shards"][1]["b.c"], json!([1, 2]));
    }

    #[test]
    fn values_of_every_kind() {
        let out = good("a=0x1F\nb=-1_000\nc=1.5\nd=inf\ne=nan\nf=1979-05-27T07:32:00Z\ng=true\nh=\"\\u00e9\"\ni=0o17\nj=0b11\nk=-inf\nl={x=1}\n");
        let v = &out["value"];
        assert_eq!(v["a"], json!(31));
        assert_eq!(v["b"], json!(-1000));
        assert_eq!(v["c"], json!(1.5));
        assert_eq!(v["d"], json!("inf"));
        assert_eq!(v["e"], json!("nan"));
        assert_eq!(v["f"], json!("1979-05-27T07:32:00Z"));
        assert_eq!(v["g"], json!(true));
        assert_eq!(v["h"], json!("é"));
        assert_eq!((&v["i"], &v["j"]), (&json!(15), &json!(3)));
        assert_eq!(v["k"], json!("-inf"));
        assert_eq!(v["l"]["x"], json!(1));
        assert_eq!(good("")["value"], json!({}));
    }

    #[test]
    fn errors_have_a_place() {
        let place = convert("a = 1\nb = = 2\n").err().unwrap();
        assert_eq!((place.line, place.column), (2, 5), "{}", place.message);
        let place = convert("a = 1\na = 2\n").err().unwrap();
        assert_eq!(place.line, 2, "{}", place.message);
        let place = convert("é = 1\n").err().unwrap();
        assert_eq!((place.line, place.column), (1, 1), "{}", place.message);
        let place = convert("a = 99999999999999999999\n").err().unwrap();
        assert_eq!((place.line, place.column), (1, 5), "{}", place.message);
        let place = run(b"a = 1\nb = \"\xff\"\n").err().unwrap();
        assert_eq!(place.line, 2);
    }
}
