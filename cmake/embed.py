#!/usr/bin/env python3
"""embed.py SYMBOL INPUT OUTPUT: writes OUTPUT.c and OUTPUT.h that hold INPUT's bytes as SYMBOL[] and SYMBOL_len."""
import os
import sys


def main() -> None:
    symbol, source, output = sys.argv[1:4]
    with open(source, "rb") as f:
        data = f.read()
    name = os.path.basename(output)
    guard = name.upper() + "_H"
    with open(output + ".h", "w", encoding="ascii") as f:
        f.write(f"/* {name}.h - generated: the bytes of {os.path.basename(source)}. */\n")
        f.write(f"#ifndef {guard}\n#define {guard}\n\n#include <stddef.h>\n#include <stdint.h>\n\n")
        f.write(f"extern const uint8_t {symbol}[];\nextern const size_t {symbol}_len;\n\n#endif\n")
    with open(output + ".c", "w", encoding="ascii") as f:
        f.write(f'#include "{name}.h"\n\nconst size_t {symbol}_len = {len(data)};\n')
        f.write(f"const uint8_t {symbol}[{max(len(data), 1)}] = {{\n")
        for at in range(0, len(data), 20):
            f.write("".join(f"{byte}," for byte in data[at : at + 20]) + "\n")
        f.write("};\n")


if __name__ == "__main__":
    main()
