"""Makes src/dtypes/iq-grids.ts and native/src/simd/iq_grids.rs: the lattice points of the IQ formats.

Run with gguf installed, in the root of the project: python scripts/reference/iq-grids.py
The numbers are constants of ggml (MIT licence, the ggml authors); gguf holds them as hexadecimal strings.
"""
import hashlib
import importlib.metadata
import pathlib

import numpy as np
from gguf import quants

TABLES = [
    ("iq2xxs", quants.IQ2_XXS),
    ("iq2xs", quants.IQ2_XS),
    ("iq2s", quants.IQ2_S),
    ("iq3xxs", quants.IQ3_XXS),
    ("iq3s", quants.IQ3_S),
    ("iq1s", quants.IQ1_S),
]
LINE = 96


def digits(table):
    table.init_grid()
    points = table.grid.reshape(table.grid_shape).astype(np.int8)
    alphabet = [int(value) for value in np.unique(points)]
    text = "".join(str(alphabet.index(int(value))) for value in points.reshape(-1))
    return points, alphabet, [text[at : at + LINE] for at in range(0, len(text), LINE)]


def typescript(tables):
    yield "// Table: the lattice points of the IQ formats, made by scripts/reference/iq-grids.py."
    yield "/**"
    yield " * Owns: the points as digits: coordinate = alphabet[digit], points in order, coordinates in order."
    yield " * Refuses to know: how blocks refer to them."
    yield " *"
    yield f" * The numbers are constants of ggml (MIT licence, the ggml authors), by way of gguf {importlib.metadata.version('gguf')}."
    yield " */"
    yield ""
    yield "/** A table as digits. */"
    yield "export interface DigitTable {"
    yield "  readonly alphabet: readonly number[];"
    yield "  /** Coordinates of a point. */"
    yield "  readonly dimensions: number;"
    yield "  readonly digits: string;"
    yield "}"
    for name, (points, alphabet, lines) in tables:
        yield ""
        yield f"/** {len(points)} points; sha256 of the coordinates as bytes:"
        yield f" * {hashlib.sha256(points.tobytes()).hexdigest()} */"
        yield f"export const {name.upper()}: DigitTable = {{"
        yield f"  alphabet: [{', '.join(map(str, alphabet))}],"
        yield f"  dimensions: {points.shape[1]},"
        yield "  digits: ["
        for line in lines:
            yield f"    '{line}',"
        yield "  ].join(''),"
        yield "};"


def rust(tables):
    yield "// Table: the lattice points of the IQ formats, made by scripts/reference/iq-grids.py."
    yield "//! Owns: the points: one array of coordinates each, read from digits when compiled."
    yield "//! Refuses to know: how blocks refer to them."
    yield f"//! The numbers are constants of ggml (MIT licence, the ggml authors), by way of gguf {importlib.metadata.version('gguf')}."
    yield ""
    yield "/// Coordinate = alphabet[digit]."
    yield "const fn points<const D: usize, const N: usize>(alphabet: &[i8], digits: &[u8]) -> [[i8; D]; N] {"
    yield "    assert!(digits.len() == D * N);"
    yield "    let mut points = [[0; D]; N];"
    yield "    let mut at = 0;"
    yield "    while at < digits.len() {"
    yield "        points[at / D][at % D] = alphabet[(digits[at] - b'0') as usize];"
    yield "        at += 1;"
    yield "    }"
    yield "    points"
    yield "}"
    for name, (points, alphabet, lines) in tables:
        yield ""
        yield f"/// {len(points)} points; sha256 of the coordinates as bytes:"
        yield f"/// {hashlib.sha256(points.tobytes()).hexdigest()}"
        yield f"pub static {name.upper()}: [[i8; {points.shape[1]}]; {len(points)}] = points("
        yield f"    &[{', '.join(map(str, alphabet))}],"
        yield "    concat!("
        for line in lines:
            yield f'        "{line}",'
        yield "    )"
        yield "    .as_bytes(),"
        yield ");"


tables = [(name, digits(table)) for name, table in TABLES]
pathlib.Path("src/dtypes/iq-grids.ts").write_text("\n".join(typescript(tables)) + "\n")
pathlib.Path("native/src/simd/iq_grids.rs").write_text("\n".join(rust(tables)) + "\n")
