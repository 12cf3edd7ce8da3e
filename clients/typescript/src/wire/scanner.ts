// A look at MessagePack before it is decoded. Decoders make room for what a header announces: a
// few bytes that announce four thousand million values would take all memory there is. Here every
// announced length is held against the bytes that are left, without making anything. What values
// take in memory is counted, too: many times their bytes.
import { ValueNotDecodableError } from "../errors/errors";
import { COUNTS, MAX_DEPTH, MAX_VALUES } from "./encoder";

const PROTO_KEY = Buffer.from("__proto__");

/** The extension that stands for undefined, and that of timestamps. */
const EXT_UNDEFINED = 0;
const EXT_TIMESTAMP = 0xff;

/** Bytes of the extensions that this package writes and reads: undefined and timestamps. */
function isKnownExtension(type: number, size: number): boolean {
  return type === EXT_TIMESTAMP
    ? size === 1 || size === 4 || size === 8 || size === 12
    : type === EXT_UNDEFINED && size === 1;
}

class Scanner {
  private at = 0;
  private values = 0;
  /** Values still to come in the containers around, and whether each is a map. */
  private readonly outer: { left: number; isMap: boolean }[] = [];
  private left = 1;
  private isMap = false;

  constructor(private readonly bytes: Uint8Array) {}

  scan(): void {
    for (;;) {
      while (this.left === 0) {
        const around = this.outer.pop();
        if (around === undefined) {
          return this.end();
        }
        this.left = around.left;
        this.isMap = around.isMap;
      }
      this.next();
    }
  }

  private refuse(what: string): never {
    throw new ValueNotDecodableError(`not decodable MessagePack: ${what} at byte ${this.at}`);
  }

  private end(): void {
    if (this.at !== this.bytes.length) {
      this.refuse(`${this.bytes.length - this.at} more bytes after the value`);
    }
  }

  private next(): void {
    const isKey = this.isMap && this.left % 2 === 0;
    this.left--;
    if (++this.values > MAX_VALUES) {
      this.refuse(`more than ${MAX_VALUES} values`);
    }
    const token = this.number(1);
    if (token < 0x80 || token >= 0xe0) {
      return;
    }
    if (token < 0x90) {
      this.container(token & 0xf, true);
    } else if (token < 0xa0) {
      this.container(token & 0xf, false);
    } else if (token < 0xc0) {
      this.text(token & 0x1f, isKey);
    } else {
      this.wide(token, isKey);
    }
  }

  /** Values whose first byte is c0 to df. */
  private wide(token: number, isKey: boolean): void {
    switch (token) {
      case 0xc0: // nil, false, true
      case 0xc2:
      case 0xc3:
        return;
      case 0xc1:
        return this.refuse("the unused byte c1");
      case 0xc4: // bin
      case 0xc5:
      case 0xc6:
        this.values += COUNTS.bytes - 1;
        return this.skip(this.number(1 << (token - 0xc4)));
      case 0xc7: // ext
      case 0xc8:
      case 0xc9:
        return this.extension(this.number(1 << (token - 0xc7)));
      case 0xca: // float
        return this.skip(4);
      case 0xcb:
        return this.skip(8);
      case 0xcc: // uint, int
      case 0xcd:
      case 0xce:
        return this.skip(1 << (token - 0xcc));
      case 0xd0:
      case 0xd1:
      case 0xd2:
        return this.skip(1 << (token - 0xd0));
      case 0xcf: // of 64 bits
      case 0xd3:
        this.values += COUNTS.wide - 1;
        return this.skip(8);
      case 0xd9: // str
      case 0xda:
      case 0xdb:
        return this.text(this.number(1 << (token - 0xd9)), isKey);
      case 0xdc: // array
      case 0xdd:
        return this.container(this.number(2 << (token - 0xdc)), false);
      case 0xde: // map
      case 0xdf:
        return this.container(this.number(2 << (token - 0xde)), true);
      default: // fixext 1, 2, 4, 8, 16
        return this.extension(1 << (token - 0xd4));
    }
  }

  /** An unsigned number of 1, 2 or 4 bytes. */
  private number(size: number): number {
    const start = this.at;
    this.skip(size);
    let value = 0;
    for (let i = start; i < this.at; i++) {
      value = value * 0x100 + this.bytes[i];
    }
    return value;
  }

  private skip(size: number): void {
    const { length } = this.bytes;
    if (size > length - this.at) {
      this.refuse(`${size} bytes announced and ${length - this.at} left`);
    }
    this.at += size;
  }

  private text(size: number, isKey: boolean): void {
    const start = this.at;
    this.values += COUNTS.text - 1;
    this.skip(size);
    const isProto = isKey && size === PROTO_KEY.length;
    if (isProto && PROTO_KEY.equals(this.bytes.subarray(start, this.at))) {
      this.refuse("the key __proto__");
    }
  }

  private extension(size: number): void {
    const type = this.number(1);
    this.skip(size);
    if (!isKnownExtension(type, size)) {
      this.refuse(`an extension of type ${type} and ${size} bytes`);
    }
    if (type === EXT_TIMESTAMP) {
      this.values += COUNTS.date - 1;
    }
  }

  private container(size: number, isMap: boolean): void {
    const values = isMap ? size * 2 : size;
    this.values += (isMap ? COUNTS.object : COUNTS.array) - 1;
    const { length } = this.bytes;
    if (values > length - this.at) {
      this.refuse(`${values} values announced and ${length - this.at} bytes left`);
    }
    if (this.outer.length >= MAX_DEPTH) {
      this.refuse(`more than ${MAX_DEPTH} levels`);
    }
    this.outer.push({ left: this.left, isMap: this.isMap });
    this.left = values;
    this.isMap = isMap;
  }
}

/**
 * Checks that bytes are exactly one MessagePack value that can be decoded: every length fits what
 * is there, no more than MAX_DEPTH levels and MAX_VALUES values, no extension but undefined and
 * timestamps, and no key `__proto__`.
 * @throws ValueNotDecodableError
 */
export function checkDecodable(bytes: Uint8Array): void {
  new Scanner(bytes).scan();
}
