"""Writes the strings that every tokenizer golden file is made of.

    python3 tokenizer-strings.py OUT.json.gz

Deterministic: a seeded generator over alphabets and templates written here, nothing taken from a corpus.
Groups: code, prose, CJK, other scripts, emoji, whitespace runs, broken UTF-8 (as a decoder shows it), special tokens
inside text, digits, very long words, marks and contractions, and single code points from all over Unicode.
"""
import gzip
import json
import random
import sys
import unicodedata

RNG = random.Random(20261124)

WORDS = """the of and to in is that it was for on are with as at be this have from or one had by word but not what all
were we when your can said there use an each which she do how their if will up other about out many then them these so
some her would make like him into time has look two more write go see number no way could people my than first water
been call who oil its now find long down day did get come made may part over new sound take only little work know place
year live me back give most very after thing our just name good sentence man think say great where help through much
before line right too mean old any same tell boy follow came want show also around form three small set put end does
another well large must big even such because turn here why ask went men read need land different home us move try kind
hand picture again change off play spell air away animal house point page letter mother answer found study still learn
should tokenizer quantization perplexity embeddings Straße naïve café coöperate façade Ångström Zürich jalapeño""".split()

SPECIALS = """<|im_start|> <|im_end|> <|endoftext|> <|begin_of_text|> <|eot_id|> <|end_of_text|> <|start_header_id|>
<|end_header_id|> <|EOT|> <think> </think> <｜begin▁of▁sentence｜> <｜end▁of▁sentence｜> <｜User｜> <｜Assistant｜>
<｜fim▁begin｜> <｜fim▁hole｜> <｜fim▁end｜> <｜tool▁calls▁begin｜> <｜tool▁sep｜> <｜tool▁outputs▁end｜> <｜▁pad▁｜> <tool_call>
</tool_call> <|fim_prefix|> <|vision_start|> <repo_name> <file_sep> <gh_stars> <empty_output> <s> </s> <unk> <0x0A>
<|im_start <｜User｜ ｜User｜> <|User|> <｜begin_of_sentence｜> |im_end|>""".split()

CODE = [
    "def {a}({b}, *args, **kwargs):\n    return [{b} for {b} in range({n}) if {b} % {m} == 0]\n",
    "for (let {a} = 0; {a} < {n}; {a}++) {{\n\tconsole.log(`${{{b}}}: ${{{a}}}`);\n}}\n",
    "#include <stdio.h>\nint main(void) {{ printf(\"%d %s\\n\", {n}, \"{a}\"); return {m}; }}\n",
    "impl<'a, T: {A} + 'static> {B}<'a, T> {{\n    pub fn {a}(&mut self) -> Option<&'a T> {{ self.{b}.get({n}) }}\n}}\n",
    "SELECT {a}.{b}, COUNT(*) FROM {a} WHERE {b} >= {n} GROUP BY 1 HAVING COUNT(*) > {m};",
    "<div class=\"{a}-{b}\" id='{b}_{n}'>{A} &amp; {B}</div>\r\n\r\n<!-- {a} -->",
    "{{\"{a}\": [{n}, {m}.{n}e-{m}, null, true], \"{b}\": \"\\u00e9\\n\"}}",
    "if [[ -f \"${{{a}}}/{b}.sh\" ]]; then\n\t\texec \"$0\" \"$@\" 2>&1 | tee -a {a}.log\nfi",
    "\\begin{{equation}}\n  \\sum_{{i={m}}}^{{{n}}} {a}_i \\cdot x^{{{m}}} \\leq \\frac{{{a}}}{{{b}}}\n\\end{{equation}}",
    "@@ -{n},{m} +{n},{m} @@\n-    {a} = {b}\n+    {a} = {b}  # {A}\n     pass\n",
    "    public static async Task<{A}> {B}Async(int {a} = {n}) => await {b}?.{A}() ?? default!;\n",
    "func ({a} *{A}) {B}() ({b} error) {{ defer func() {{ recover() }}(); {b}={b}+{n}; return }}",
    "{A}::{B}->{a}(&{b}[{n}]) /* {a}-{b} */ ^= ~0x{n:x}u << {m} | !{b} && {a}||{b};",
    "https://{a}.example.org:{n}/{b}/index.html?q={a}%20{b}&n={m}#{A}",
    "{a}@{b}.io, +{n} ({m}) {n}-{m}, {n}/{m}/{n}, v{m}.{n}.{m}-beta.{n}, {n}%, ${n}.{m}, {n}:{m}",
    "| {a} | {b} |\n|:---|---:|\n| {n} | **{A}** |\n\n* _{b}_\n  * `{a}`\n\n---\n> {B}...\n",
]

SCRIPTS = {
    "han": [(0x4E00, 0x9FA5)],
    "kana": [(0x3041, 0x3096), (0x30A1, 0x30FA)],
    "hangul": [(0xAC00, 0xD7A3)],
    "cyrillic": [(0x410, 0x44F), (0x400, 0x45F)],
    "greek": [(0x391, 0x3A9), (0x3B1, 0x3C9), (0x1F00, 0x1F15)],
    "arabic": [(0x621, 0x64A), (0x660, 0x669)],
    "hebrew": [(0x5D0, 0x5EA)],
    "devanagari": [(0x905, 0x939), (0x93E, 0x94D), (0x966, 0x96F)],
    "thai": [(0xE01, 0xE3A), (0xE40, 0xE4E)],
    "georgian": [(0x10D0, 0x10FA), (0x10A0, 0x10C5)],
    "armenian": [(0x531, 0x556), (0x561, 0x586)],
    "cherokee": [(0x13A0, 0x13F4)],
    "amharic": [(0x1200, 0x1248)],
    "tibetan": [(0xF40, 0xF47), (0xF71, 0xF7D)],
    "latin-extended": [(0xC0, 0x24F), (0x1E00, 0x1EFF)],
    "full-width": [(0xFF01, 0xFF5E), (0x3000, 0x3003)],
    "deseret": [(0x10400, 0x1044F)],
    "math": [(0x1D400, 0x1D454), (0x2200, 0x22FF), (0x1D7CE, 0x1D7FF)],
    "han-extended": [(0x3400, 0x4DB5), (0x20000, 0x2A6D6), (0x9FA6, 0x9FEF)],
}

EMOJI = "😀 😂 🦙 🚀 👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 🇯🇵 ❤️ ☃ ✅ 1️⃣ 🧑🏿‍💻 ⚠️ 🤷🏻‍♀️ 🪿 ⭐ ™️ ㊗️ 🎉🎉🎉".split()
SPACES = [" ", "  ", "\t", "\n", "\r\n", "\r", "\u00a0", "\u3000", "\u2003", "\u200a", "\u2028", "\u0085", "\x0b", "\x0c", "\u1680", "\u202f"]
NOT_SPACES = ["\u200b", "\ufeff", "\u200d", "\u2060", "\u00ad", "\x00", "\x1f", "\x7f", "\u180e"]
PUNCTUATION = list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") + list("¡¿§¶·–—‘’“”„…‹›«»、。「」『』！？，：；（）％＄€£¥©®°±×÷→⇒∀∞≤■★♪")
NUMBERS = list("0123456789") + list("٣५๗²³¹½¼¾ⅣⅫ①⑩㊿〇") + ["\U0001d7d8", "\U00010107"]
CONTRACTIONS = "I'm you're he's we've they'll I'd don't it'S CAN'T WE'RE I'LL 'tis o'clock rock'n'roll 'sup ''s '' '’ don’t it'ſ 'ſ 'Sx 'LLama 'reX x'vey 'd' 'M".split()
MARKS = ["e\u0301", "n\u0303", "o\u0308", "a\u030a\u0301", "\u0301", "\u0301\u0302x", "क्षि", "ก็", "ệ", "e\u0302\u0323", "\u1e69", "s\u0323\u0307", "가", "\u1100\u1161", "Å", "Å", "ﬁ", "ﬆ", "Ω", "K"]


def some(items, low, high):
    return [RNG.choice(items) for _ in range(RNG.randint(low, high))]


def script_word(name, low=1, high=8):
    out = []
    for _ in range(RNG.randint(low, high)):
        first, last = RNG.choice(SCRIPTS[name])
        out.append(chr(RNG.randint(first, last)))
    return "".join(out)


def prose(low=3, high=14):
    words = some(WORDS, low, high)
    if RNG.random() < 0.5:
        words[0] = words[0].capitalize()
    return " ".join(words) + RNG.choice(["", ".", "!", "?", ",", "...", ":", ";\n"])


def code():
    a, b = RNG.choice(WORDS), RNG.choice(WORDS) + RNG.choice(["", "_id", "Count", "2"])
    return RNG.choice(CODE).format(a=a, b=b, A=a.capitalize(), B=b.title(), n=RNG.randint(0, 99999), m=RNG.randint(0, 99))


def mixed():
    parts = []
    for _ in range(RNG.randint(3, 9)):
        parts.append(RNG.choice([
            lambda: RNG.choice(WORDS), lambda: script_word(RNG.choice(list(SCRIPTS)), 1, 4), lambda: RNG.choice(EMOJI),
            lambda: RNG.choice(SPACES), lambda: " ", lambda: RNG.choice(PUNCTUATION), lambda: "".join(some(NUMBERS, 1, 5)),
            lambda: RNG.choice(MARKS), lambda: RNG.choice(CONTRACTIONS), lambda: RNG.choice(NOT_SPACES),
        ])())
    return "".join(parts)


def broken():
    raw = bytearray(mixed().encode())
    for _ in range(RNG.randint(1, 4)):
        at = RNG.randrange(len(raw))
        if RNG.random() < 0.5:
            raw[at] = RNG.choice([0x80, 0xBF, 0xC0, 0xC3, 0xE2, 0xED, 0xF0, 0xF4, 0xF8, 0xFF])
        else:
            del raw[at]
        if not raw:
            break
    return bytes(raw).decode("utf-8", errors="replace")


def code_point():
    while True:
        cp = RNG.choice([RNG.randint(0x20, 0x2FFF), RNG.randint(0xA000, 0xFFFD), RNG.randint(0x10000, 0x1FFFF)])
        if unicodedata.category(chr(cp)) not in ("Cn", "Cs"):
            return chr(cp)


def build():
    strings = ["", " ", "a", "\n", "Hello world", " Hello", "Hello ", "\n\n\n", "   a", "a   ", "a\n \nb", " \n", "\t\t x"]
    add = strings.append
    for _ in range(400):
        add(code())
    for _ in range(250):
        add(prose())
    for name in SCRIPTS:
        for _ in range(16):
            add(RNG.choice(["", " ", "  "]).join(script_word(name) for _ in range(RNG.randint(1, 6))))
    for _ in range(120):
        add("".join(RNG.choice([script_word("han"), script_word("kana"), script_word("hangul"), "，", "。", "「", "A", " ", "1"]) for _ in range(RNG.randint(2, 9))))
    for _ in range(100):
        add(RNG.choice(["", " "]).join(some(EMOJI + WORDS[:20], 1, 7)))
    for _ in range(200):
        add("".join(RNG.choice(SPACES) * RNG.randint(1, 6) + RNG.choice(["", "", "a", "中", "1", ".", "é"]) for _ in range(RNG.randint(1, 6))))
    for _ in range(150):
        add(broken())
    for _ in range(150):
        add("".join(RNG.choice([RNG.choice(SPECIALS), RNG.choice(SPECIALS), RNG.choice(WORDS), " ", "\n", "1"]) for _ in range(RNG.randint(1, 8))))
    for special in SPECIALS:
        add(special)
        add(f"a {special} b")
    for _ in range(150):
        add(RNG.choice(["", " ", ",", ".", "-", " x"]).join("".join(some(NUMBERS[:10] if RNG.random() < 0.7 else NUMBERS, 1, 12)) for _ in range(RNG.randint(1, 5))))
    for _ in range(30):
        add("".join(some("abcdefghijklmnopqrstuvwxyz", 60, 900)))
        add(RNG.choice(WORDS).upper() * RNG.randint(10, 60))
    for char in ["a", "=", "-", " ", "\n", "中", "9", "\t", "é", "🦙", "한", "_", "\u00a0", "a ", "\r\n", "()"]:
        for count in (33, 64, 257, 1000):
            add(char * count)
    for mark in MARKS + CONTRACTIONS + EMOJI + SPACES + NOT_SPACES + NUMBERS:
        add(mark)
        add(f"x{mark}y")
        add(f"a {mark} {mark}b")
    for _ in range(150):
        add(RNG.choice([" ", "", "  "]).join(some(MARKS + CONTRACTIONS + WORDS[:40], 1, 6)))
    for _ in range(350):
        add(mixed())
    for _ in range(200):
        add(RNG.choice(["", "a", " ", "1", "."]).join(code_point() for _ in range(RNG.randint(1, 6))))
    return list(dict.fromkeys(strings))


def main():
    strings = build()
    certificate = {
        "made-by": "scripts/reference/tokenizer-strings.py",
        "inputs": "none; seed 20261124",
        "versions": f"Python {sys.version.split()[0]}, Unicode {unicodedata.unidata_version}",
        "date": "2026-11-24",
        "strings": len(strings),
    }
    body = json.dumps({"certificate": certificate, "strings": strings}, ensure_ascii=False, separators=(",", ":"))
    with gzip.GzipFile(sys.argv[1], "wb", compresslevel=9, mtime=0) as out:
        out.write(body.encode())
    print(len(strings), "strings,", len(body.encode()), "bytes")


main()
