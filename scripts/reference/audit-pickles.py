"""Makes test/golden/audit: files of pickles that run code when Python reads them, and files of weights that do not.

    python scripts/reference/audit-pickles.py        (needs torch and numpy; versions go into the files)

`malicious.json` holds one file for every documented way past a scanner: the names out of the advisories about picklescan
and fickling (GHSA-655q-fx9r-782v, GHSA-9gvj-pp9x-gcfr, GHSA-vvpj-8cmc-gx39, GHSA-g38g-8gr9-h9xp, GHSA-7wx9-6375-f5wh and
their like), the opcodes of pickletools.py, and archives that readers differ about. Each is made here from opcodes, and
then read by Python in a folder of its own: `fires` says whether it did what it is there for (`touch fired`, or the like)
with this Python. What needs other modules or another system does not fire here, and is no less refused.
`benign.json` holds what torch.save and numpy.save write. `benign-numpy-1.json` holds what numpy 1 writes, whose modules have other
names; a Python with that numpy makes it: `python scripts/reference/audit-pickles.py --numpy-1` (numpy 1.26, nothing else).
"""

import base64
import collections
import datetime
import io
import json
import pathlib
import pickle
import platform
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib

import numpy as np

OUT = pathlib.Path(__file__).resolve().parent.parent.parent / "test" / "golden" / "audit"
TOUCH = "touch fired"
CODE = "import os; os.system('touch fired')"


# Opcodes.
def s(text):
    raw = text.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def s4(text):
    raw = text.encode()
    return b"\x8c" + bytes([len(raw)]) + raw


def glob(module, name):
    return f"c{module}\n{name}\n".encode()


def call(module, name, *args):
    return glob(module, name) + b"(" + b"".join(args) + b"tR"


def p2(body):
    return b"\x80\x02" + body + b"."


def p4(body):
    return b"\x80\x04" + body + b"."


SYSTEM = call("os", "system", s(TOUCH))
FRAMED = b"\x95" + struct.pack("<Q", len(SYSTEM) + 1)

# Names that run or fetch something; arguments as they would be given.
NAMES = [
    ("os", "system", TOUCH), ("posix", "system", TOUCH), ("nt", "system", TOUCH), ("os", "popen", TOUCH),
    ("os", "execlp", "touch"), ("os", "remove", "x"), ("os", "putenv", "A"), ("subprocess", "Popen", "touch"),
    ("subprocess", "call", "true"), ("subprocess", "check_output", "true"), ("subprocess", "getoutput", TOUCH),
    ("builtins", "eval", "__import__('os').system('touch fired')"), ("builtins", "exec", CODE),
    ("builtins", "__import__", "antigravity"), ("builtins", "getattr", "x"), ("builtins", "open", "/etc/passwd"),
    ("builtins", "compile", CODE), ("builtins", "breakpoint", ""), ("__builtin__", "eval", "__import__('os').system('touch fired')"),
    ("__builtin__", "apply", "x"), ("builtins", "print", "x"), ("builtins", "globals", ""), ("builtins", "input", ""),
    ("runpy", "run_path", "x.py"), ("runpy", "_run_code", CODE), ("importlib", "import_module", "antigravity"),
    ("importlib.util", "find_spec", "os"), ("pkgutil", "resolve_name", "os:system"), ("pydoc", "locate", "os.system"),
    ("pydoc", "pipepager", "x"), ("operator", "attrgetter", "system"), ("operator", "methodcaller", "system"),
    ("_operator", "attrgetter", "system"), ("functools", "partial", "x"), ("functools", "reduce", "x"), ("itertools", "starmap", "x"),
    ("timeit", "timeit", CODE), ("cProfile", "run", CODE), ("profile", "run", CODE), ("pdb", "run", CODE), ("bdb", "Bdb", ""),
    ("trace", "Trace", ""), ("doctest", "debug_script", CODE), ("code", "InteractiveInterpreter", ""), ("code", "interact", ""),
    ("codeop", "compile_command", CODE), ("ctypes", "CDLL", "libc.so.6"), ("ctypes.util", "find_library", "c"),
    ("pty", "spawn", "true"), ("webbrowser", "open", "file:///dev/null"), ("socket", "create_connection", "x"),
    ("socket", "getaddrinfo", "localhost"), ("urllib.request", "urlopen", "file:///etc/passwd"), ("http.client", "HTTPSConnection", "x"),
    ("ssl", "get_server_certificate", "x"), ("shutil", "rmtree", "nothing"), ("shutil", "copyfile", "x"), ("io", "open", "/etc/passwd"),
    ("_io", "FileIO", "/etc/passwd"), ("io", "FileIO", "/etc/passwd"), ("tempfile", "mkdtemp", "x"), ("zipimport", "zipimporter", "x.zip"),
    ("marshal", "loads", "x"), ("types", "CodeType", "x"), ("types", "FunctionType", "x"), ("lib2to3.pgen2.grammar", "Grammar", ""),
    ("lib2to3.pgen2.pgen", "ParserGenerator", "x"), ("idlelib.run", "Executive", "x"), ("idlelib.pyshell", "ModifiedInterpreter", "x"),
    ("ensurepip", "_run_pip", "x"), ("pip", "main", "x"), ("venv", "create", "x"), ("asyncio", "run", "x"),
    ("asyncio.unix_events", "_UnixSubprocessTransport", "x"), ("multiprocessing.util", "spawnv_passfds", "x"),
    ("distutils.file_util", "write_file", "x"), ("logging.config", "listen", ""), ("logging", "FileHandler", "log.txt"),
    ("uuid", "_get_command_stdout", "true"), ("unittest.mock", "_importer", "antigravity"), ("inspect", "getattr_static", "x"),
    ("sqlite3", "connect", "x.db"), ("sys", "exit", "0"), ("sys", "setrecursionlimit", "x"), ("gc", "get_objects", ""),
    ("signal", "alarm", "1"), ("threading", "Timer", "x"), ("atexit", "register", "x"), ("commands", "getoutput", TOUCH),
    ("pickle", "loads", "x"), ("_pickle", "loads", "x"), ("pickle", "Unpickler", "x"), ("dill", "loads", "x"), ("cloudpickle", "loads", "x"),
    ("joblib", "load", "x"), ("pandas", "read_pickle", "x"), ("numpy", "load", "x"), ("numpy", "fromfile", "x"),
    ("numpy.testing._private.utils", "runstring", CODE), ("numpy.testing", "runstring", CODE), ("numpy.f2py.crackfortran", "getlincoef", "x"),
    ("numpy.distutils.exec_command", "exec_command", TOUCH), ("torch", "load", "x"), ("torch.hub", "load", "x"), ("torch.hub", "load_state_dict_from_url", "x"),
    ("torch.serialization", "load", "x"), ("torch.utils.cpp_extension", "load", "x"), ("torch.utils.collect_env", "run", TOUCH),
    ("torch.utils._config_module", "ConfigModule", "x"), ("torch.utils.bottleneck.__main__", "run_cprofile", "x"),
    ("torch._dynamo.guards", "GuardBuilder", "x"), ("torch.fx.experimental.symbolic_shapes", "ShapeEnv", "x"),
    ("torch.jit.unsupported_tensor_ops", "execWrapper", CODE), ("torch.jit", "load", "x"), ("torch.package", "PackageImporter", "x"),
    ("torch._inductor.codecache", "compile_file", "x"), ("torch.distributed.rpc", "rpc_sync", "x"), ("torch.nn.Module", "__setattr__", "x"),
    ("torch._utils", "_rebuild_wrapper_subclass", "x"), ("torch._tensor", "_rebuild_from_type_v2", "x"), ("torch", "os", "x"), ("numpy", "os", "x"),
    ("copyreg", "_reconstructor", "x"), ("copyreg", "add_extension", "x"), ("collections", "namedtuple", "x"), ("collections", "defaultdict", "x"),
    ("__main__", "anything", "x"), ("transformers.training_args", "TrainingArguments", "x"), ("argparse", "Namespace", ""), ("tensorflow", "io", "x"),
    ("lzma", "LZMAFile", "x"), ("bz2", "BZ2File", "x"), ("gzip", "GzipFile", "x"), ("fileinput", "input", "x"), ("linecache", "getlines", "/etc/passwd"),
    ("smtplib", "SMTP", "x"), ("ftplib", "FTP", "x"), ("telnetlib", "Telnet", "x"), ("poplib", "POP3", "x"), ("xmlrpc.client", "ServerProxy", "x"),
    ("readline", "read_history_file", "x"), ("nturl2path", "url2pathname", "x"), ("getpass", "getpass", ""), ("mailcap", "findmatch", "x"), ("platform", "popen", "x"),
    ("cgitb", "enable", ""), ("site", "addsitedir", "x"), ("sysconfig", "get_config_vars", ""), ("ast", "literal_eval", "1"), ("string", "Formatter", ""),
]


def names():
    for module, name, argument in NAMES:
        yield f"name: {module}.{name}", "name", p2(call(module, name, s(argument)) if argument else call(module, name))


def structures():
    payload = pickle.dumps(b"").__class__
    yield "GLOBAL and REDUCE, protocol 0", "opcode", b"cos\nsystem\n(S'touch fired'\ntR."
    yield "STACK_GLOBAL", "opcode", p4(s4("os") + s4("system") + b"\x93" + s4(TOUCH) + b"\x85R")
    yield "STACK_GLOBAL with BINUNICODE", "opcode", p4(s("os") + s("system") + b"\x93" + s(TOUCH) + b"\x85R")
    yield "STACK_GLOBAL by memo", "memo", p4(s4("os") + b"\x940" + s4("system") + b"\x940h\x00h\x01\x93" + s4(TOUCH) + b"\x85R")
    yield "memo that is written twice", "memo", p4(s4("collections") + b"q\x000" + s4("os") + b"q\x000" + s4("system") + b"q\x010h\x00h\x01\x93" + s4(TOUCH) + b"\x85R")
    yield "PUT and MEMOIZE by turns", "memo", p4(s4("os") + b"q\x00" + b"0" + s4("system") + b"q\x010" + s4("torch._utils") + b"\x940" + s4("_rebuild_tensor_v2") + b"\x940h\x00h\x01\x93" + s4(TOUCH) + b"\x85R")
    yield "LONG_BINPUT far away", "memo", p4(s4("os") + b"r\xff\xff\x00\x00" + b"0j\xff\xff\x00\x00" + s4("system") + b"\x93" + s4(TOUCH) + b"\x85R")
    yield "function out of a memo", "memo", p2(glob("os", "system") + b"q\x050h\x05(" + s(TOUCH) + b"tR")
    yield "INST", "opcode", b"(S'touch fired'\nios\nsystem\n."
    yield "OBJ", "opcode", p2(b"(" + glob("os", "system") + s(TOUCH) + b"o")
    yield "OBJ of a class", "opcode", p2(b"(" + glob("subprocess", "Popen") + s("true") + b"o")
    yield "NEWOBJ", "opcode", p2(glob("subprocess", "Popen") + b"(" + s("true") + b"t\x81")
    yield "NEWOBJ of an allowed name", "opcode", p2(glob("collections", "OrderedDict") + b")\x81")
    yield "NEWOBJ_EX", "opcode", p4(glob("collections", "OrderedDict") + b")}\x92")
    yield "BUILD with __setstate__", "build", p2(glob("collections", "OrderedDict") + b")R}" + s("__setstate__") + glob("os", "system") + b"sb" + s(TOUCH) + b"b")
    yield "BUILD on a class", "build", p2(glob("collections", "OrderedDict") + b"}" + s("update") + glob("os", "system") + b"sb")
    yield "BUILD with a tuple of slots", "build", p2(glob("collections", "OrderedDict") + b")R(N}" + s("__class__") + s("x") + b"stb")
    yield "BUILD of functools.partial", "build", p2(glob("functools", "partial") + b"(" + glob("os", "system") + b"tR(" + glob("os", "system") + b"(" + s(TOUCH) + b"t}}tb)R")
    yield "BUILD on a tensor's parts", "build", p2(glob("torch", "FloatStorage") + b"}" + s("x") + b"Nsb")
    for opcode, code in ((b"\x82", b"\x05"), (b"\x83", b"\x05\x00"), (b"\x84", b"\x05\x00\x00\x00")):
        yield f"EXT{len(code)}", "opcode", p2(opcode + code + b")R")
    yield "PERSID", "opcode", b"P0\n."
    yield "NEXT_BUFFER", "opcode", b"\x80\x05\x97."
    yield "getattr chain", "chain", p2(call("builtins", "getattr", call("builtins", "__import__", s("os")), s("system")) + b"(" + s(TOUCH) + b"tR")
    yield "attribute of an allowed module", "chain", p4(s4("collections") + s4("_sys.modules") + b"\x93")
    yield "dotted name through a module", "chain", p4(s4("logging") + s4("os.system") + b"\x93" + s4(TOUCH) + b"\x85R")
    yield "dotted name of an allowed class", "chain", p4(s4("collections") + s4("OrderedDict.__init__.__globals__") + b"\x93")
    yield "function of a called function", "chain", p2(call("operator", "attrgetter", s("system")) + b"(" + glob("os", "path") + b"tR")
    yield "call of what a call gave", "chain", p2(call("_codecs", "encode", s("x"), s("latin1")) + b"(" + s("x") + b"tR")
    yield "call of a made OrderedDict", "chain", p2(glob("collections", "OrderedDict") + b")R)R")
    yield "codec that imports a module", "chain", p2(call("_codecs", "encode", s("x"), s("antigravity")))
    yield "nested pickle", "nested", p2(call("pickle", "loads", b"C" + bytes([len(p2(SYSTEM))]) + p2(SYSTEM)))
    yield "nested pickle by _pickle", "nested", p2(call("_pickle", "loads", b"C" + bytes([len(p2(SYSTEM))]) + p2(SYSTEM)))
    yield "nested pickle in numpy", "nested", p2(call("numpy", "load", s("x.npy")))
    yield "broken after the payload", "broken", b"\x80\x02" + SYSTEM + b"\xff\xff"
    yield "cut after the payload", "broken", b"\x80\x02" + SYSTEM
    yield "payload, then a stack that is empty", "broken", b"\x80\x02" + SYSTEM + b"000."
    yield "second pickle behind the first", "broken", p2(b"N") + p2(SYSTEM)
    yield "values left on the stack", "broken", p2(SYSTEM + b"N")
    yield "payload that is dropped", "broken", p2(SYSTEM + b"0N")
    yield "payload under a mark", "broken", p2(b"(" + SYSTEM + b"1N")
    yield "payload as a key", "place", p2(b"}" + SYSTEM + b"Ns")
    yield "payload as an item of a set", "place", p4(b"\x8f(" + SYSTEM + b"\x90")
    yield "payload as an item of a list", "place", p2(b"](" + SYSTEM + b"e")
    yield "payload in a tuple of arguments", "place", p2(glob("collections", "OrderedDict") + b"(](" + SYSTEM + b"etR")
    yield "payload in a persistent id", "place", p2(b"(" + s("storage") + SYSTEM + b"tQ")
    yield "payload in a state", "place", p2(glob("collections", "OrderedDict") + b")R}" + s("a") + SYSTEM + b"sb")
    yield "items of a module's dict", "place", p2(glob("os", "environ") + s("HADAL") + s("1") + b"s")
    yield "append to sys.path", "place", p2(glob("sys", "path") + s("/tmp") + b"a")
    yield "append to what was made", "place", p2(glob("collections", "OrderedDict") + b")R" + s("x") + b"a")
    yield "items of an allowed class", "place", p2(glob("torch", "FloatStorage") + s("a") + s("b") + b"s")
    yield "name with an escape of UNICODE", "spelling", b"\x80\x04V\\u006fs\nVsystem\n\x93" + s4(TOUCH) + b"\x85R."
    yield "name with an escape of STRING", "spelling", b"\x80\x04S'o\\x73'\nS'system'\n\x93" + s4(TOUCH) + b"\x85R."
    yield "name in double quotes", "spelling", b'\x80\x04S"os"\nS"system"\n\x93' + s4(TOUCH) + b"\x85R."
    yield "name as bytes of protocol 0", "spelling", b"\x80\x04U\x02osU\x06system\x93" + s4(TOUCH) + b"\x85R."
    yield "name of another alphabet", "spelling", p2(call("collections", "OrderedDict\u200b"))
    yield "name with a space", "spelling", p2(b"c collections\nOrderedDict\n)R")
    yield "name in a package of ours", "spelling", p2(call("collections.OrderedDict", "system"))
    yield "protocol 2 in the middle", "stream", b"\x80\x02" + SYSTEM + b"\x80\x02."
    yield "protocol 6", "stream", b"\x80\x06" + SYSTEM + b"."
    yield "frame", "stream", b"\x80\x04" + FRAMED + SYSTEM + b"."
    yield "frame that is longer than the file", "stream", b"\x80\x04\x95" + struct.pack("<Q", 10_000) + b"N."
    yield "frame that ends within an opcode", "stream", b"\x80\x04\x95" + struct.pack("<Q", 3) + s4("harmless") + b"."
    yield "text without end", "stream", b"\x80\x02X\xff\xff\xff\x7fabc"
    yield "number without end", "stream", b"\x80\x02\x8b\xff\xff\xff\x7fabc"
    yield "memo out of the blue", "stream", p2(b"h\x07")
    yield "mark out of the blue", "stream", p2(b"t")
    yield "billion of lists", "stream", p2(b"]" + b"".join(b"q%c(h%ch%ch%ce" % (i, i, i, i) for i in range(40)) + b"0")
    yield "tower of tuples", "stream", p2(b"N" + b"\x85" * 600_000)
    yield "payload of DUP", "place", p2(SYSTEM + b"2\x86")
    yield "python 2's eval", "spelling", b"c__builtin__\neval\n(S'__import__(\"os\").system(\"touch fired\")'\ntR."
    yield "extension registry", "opcode", p2(call("copyreg", "add_extension", s("os"), s("system"), b"K\x05") + b"0\x82\x05(" + s(TOUCH) + b"tR")
    yield "numpy object of another class", "place", p2(glob("numpy.core.multiarray", "_reconstruct") + b"(" + glob("subprocess", "Popen") + b"K\x00\x85C\x01btR")
    assert payload is bytes


def torch_zip(pickled, extra=(), root="archive", **options):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", options.get("method", zipfile.ZIP_STORED)) as z:
        for name, data in ((f"{root}/data.pkl", pickled), *extra, (f"{root}/version", b"3\n")):
            z.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, options.get("method", zipfile.ZIP_STORED))
    return out.getvalue()


GOOD = pickle.dumps(collections.OrderedDict([("a", 1)]), protocol=2)


def archives():
    plain = torch_zip(GOOD)
    end = len(plain) - 22
    directory = struct.unpack("<I", plain[end + 16 : end + 20])[0]
    yield "torch archive with a payload", "model.pt", torch_zip(p2(SYSTEM))
    yield "torch archive under another name", "model.bin", torch_zip(p2(SYSTEM))
    yield "payload in a second pickle", "model.pt", torch_zip(GOOD, [("archive/extra.pkl", p2(SYSTEM))])
    yield "TorchScript", "model.pt", torch_zip(GOOD, [("archive/code/__torch__.py", b"def f(): pass")])
    yield "payload beside the root", "model.pt", torch_zip(GOOD, [("other/data.pkl", p2(SYSTEM))])
    yield "pickle in small letters and large", "model.pt", torch_zip(GOOD, [("archive/DATA.PKL", p2(SYSTEM))])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr("archive/data.pkl", GOOD)
        z.writestr("archive/data.pkl", p2(SYSTEM))
    yield "one name twice", "model.pt", out.getvalue()
    renamed = bytearray(plain)
    renamed[directory + 46 : directory + 46 + 16] = b"archive/info.txt"
    yield "another name in the directory", "model.pt", bytes(renamed)
    renamed = bytearray(plain)
    renamed[30:46] = b"archive/info.txt"
    yield "another name before the data", "model.pt", bytes(renamed)
    for what, at, value in (
        ("CRC in the directory", directory + 16, b"\0\0\0\0"), ("CRC before the data", 14, b"\0\0\0\0"),
        ("length in the directory", directory + 24, b"\1\0\0\0"), ("length before the data", 22, b"\1\0\0\0"),
        ("method in the directory", directory + 10, b"\x08\0"), ("method before the data", 8, b"\x08\0"),
        ("method that nobody knows", directory + 10, b"\x63\0"), ("flag of encryption", directory + 8, b"\1\0"),
        ("flag of encryption before the data", 6, b"\1\0"), ("flag of a masked directory", directory + 8, b"\0\x20"),
        ("place in the directory", directory + 42, b"\5\0\0\0"), ("number of entries", end + 10, b"\1\0"),
        ("number of entries on this disk", end + 8, b"\1\0"), ("disk", end + 4, b"\1\0"), ("place of the directory", end + 16, b"\0\0\0\0"),
        ("length of a comment", end + 20, b"\1\0"), ("signature of the end", end, b"PK\5\7"), ("signature of an entry", directory, b"PK\1\3"),
        ("one byte of the data", 60, b"\xff"), ("mode of a link", directory + 38, b"\0\0\0\xa0"),
    ):
        changed = bytearray(plain)
        changed[at : at + len(value)] = value
        if what == "mode of a link":
            changed[directory + 5] = 3
        yield f"changed: {what}", "model.pt", bytes(changed)
    yield "bytes before the archive", "model.pt", b"\x80\x02" + SYSTEM + b"." + plain
    yield "bytes behind the archive", "model.pt", plain + p2(SYSTEM)
    yield "comment with an end record", "model.pt", plain[:-2] + struct.pack("<H", 22) + plain[-22:]
    yield "two archives, one behind the other", "model.pt", torch_zip(p2(SYSTEM)) + plain
    yield "hole between entries", "model.pt", plain[:directory] + b"\0" * 16 + plain[directory : end + 16] + struct.pack("<I", directory + 16) + plain[end + 20 :]
    for name in ("../evil.py", "/etc/cron.d/x", "archive/../../x", "archive\\x", "C:x", "archive/a\0b", "archive/x/", "archive/data/./0", "archive//x"):
        yield f"path {name!r}", "model.pt", torch_zip(GOOD, [(name, b"x")]) if "\0" not in name else torch_zip(GOOD, [("archive/aXb", b"x")]).replace(b"aXb", b"a\0b")
    yield "deflated to a thousandth", "model.pt", torch_zip(GOOD, [("archive/data/0", b"\0" * 10_000_000)], method=zipfile.ZIP_DEFLATED)
    deflated = torch_zip(GOOD + b" " * 400, method=zipfile.ZIP_DEFLATED)
    yield "pickle with something behind it", "model.pt", deflated
    unicode = torch_zip(GOOD, [])
    field = struct.pack("<HHBI", 0x7075, 5 + 16, 1, zlib.crc32(b"archive/data.pkl")) + b"archive/evil.pkl"
    yield "second name in an extra field", "model.pt", unicode[:28] + struct.pack("<H", len(field)) + unicode[30:46] + field + unicode[46:]
    yield "numbers that nothing names", "model.pt", torch_zip(GOOD, [("archive/data/0", b"\0" * 16)])
    yield "storage without its numbers", "model.pt", torch_zip(p2(b"(" + s("storage") + glob("torch", "FloatStorage") + s("0") + s("cpu") + b"K\x04tQ"))
    yield "storage of another length", "model.pt", torch_zip(p2(b"(" + s("storage") + glob("torch", "FloatStorage") + s("0") + s("cpu") + b"K\x04tQ"), [("archive/data/0", b"\0" * 15)])
    yield "archive without a pickle", "model.pt", torch_zip(GOOD).replace(b"data.pkl", b"data.pk1")
    yield "7z", "model.pt", b"7z\xbc\xaf\x27\x1c\0\4" + b"\0" * 64
    yield "7z under the name of a pickle", "model.pkl", b"7z\xbc\xaf\x27\x1c\0\4" + p2(SYSTEM)
    yield "gzip", "model.bin", zlib.compress(p2(SYSTEM), wbits=31)
    yield "zlib, as joblib writes", "model.pkl", zlib.compress(p2(SYSTEM))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as t:
        info = tarfile.TarInfo("pickle")
        info.size = len(p2(SYSTEM))
        t.addfile(info, io.BytesIO(p2(SYSTEM)))
    yield "tar of torch before 0.1.10", "model.pt", out.getvalue()
    yield "safetensors by name only", "model.safetensors", p2(SYSTEM)
    yield "GGUF by name only", "model.gguf", p2(SYSTEM)
    yield "text by name only", "config.json", p2(SYSTEM)
    yield "archive by the name of GGUF", "model.gguf", torch_zip(p2(SYSTEM))
    yield "pickle of protocol 0 as text", "notes.pkl", b"cos\nsystem\n(S'touch fired'\ntR."
    yield "program", "model.bin", b"\x7fELF\2\1\1" + b"\0" * 57
    yield "nothing", "model.pt", b""
    yield "numbers alone", "model.bin", bytes(range(1, 200))
    yield "old torch with a payload", "model.pt", pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + p2(SYSTEM) + pickle.dumps([], 2)
    yield "old torch with a payload in its keys", "model.pt", pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + GOOD + p2(SYSTEM)
    yield "old torch with more behind it", "model.pt", pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + GOOD + pickle.dumps([], 2) + p2(SYSTEM)
    out = io.BytesIO()
    np.save(out, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    yield "array of objects", "a.npy", out.getvalue()
    out = io.BytesIO()
    np.savez(out, a=np.zeros(2), b=np.array([{"a": 1}], dtype=object))
    yield "archive with an array of objects", "a.npz", out.getvalue()
    out = io.BytesIO()
    np.save(out, np.zeros(4, dtype=np.float32))
    array = out.getvalue()
    yield "array with more behind it", "a.npy", array + p2(SYSTEM)
    yield "array with code in its header", "a.npy", array.replace(b"'<f4', ", b"f(1)  , ")
    yield "array of records with objects", "a.npy", array.replace(b"'<f4', ", b"[('a', 'O')], ").replace(b" " * 12, b" " * 5, 1)


def fires(data, file):
    """Whether Python, reading the file as it would be read, does what it should not."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / file
        path.write_bytes(data)
        reader = "import pickle,sys,zipfile\np=sys.argv[1]\nf=zipfile.ZipFile(p).open('archive/data.pkl') if zipfile.is_zipfile(p) else open(p,'rb')\npickle.load(f)\ntry:\n  pickle.load(f)\nexcept EOFError: pass"
        try:
            subprocess.run([sys.executable, "-c", reader, file], cwd=folder, timeout=20, capture_output=True, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            pass
        return (pathlib.Path(folder) / "fired").exists()


def malicious():
    cases = [(title, kind, "model.pkl", data) for title, kind, data in [*structures(), *names()]]
    cases += [(title, "archive", file, data) for title, file, data in archives()]
    entries = []
    for title, kind, file, data in cases:
        stored = {"deflate": base64.b64encode(zlib.compress(data, 9)).decode()} if len(data) > 4096 else {"base64": base64.b64encode(data).decode()}
        entries.append({"name": title, "class": kind, "file": file, "fires": fires(data, file), **stored})
    return entries


def benign():
    import torch

    torch.manual_seed(1)
    dtypes = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.uint8, torch.int64, torch.int32, torch.int16, torch.bool, torch.complex64]
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    tied = torch.zeros(2, 3)
    half = torch.nn.Linear(2, 2).half()
    big = torch.arange(16.0).reshape(4, 4)
    things = {
        "state dict": (model.state_dict(), {}),
        "state dict in the form of before 2020": (model.state_dict(), {"_use_new_zipfile_serialization": False}),
        "state dict, protocol 4": (model.state_dict(), {"pickle_protocol": 4}),
        "state dict, protocol 5": (model.state_dict(), {"pickle_protocol": 5}),
        "state dict, protocol 3, in the form of before 2020": (model.state_dict(), {"pickle_protocol": 3, "_use_new_zipfile_serialization": False}),
        "tied tensors and a view": ({"a": tied, "b": tied, "c": tied[1:], "d": tied.t()}, {}),
        "tied tensors in the form of before 2020": ({"a": tied, "b": tied.t()}, {"_use_new_zipfile_serialization": False}),
        "one tensor": (torch.arange(5), {}),
        "parameter": (torch.nn.Parameter(torch.ones(2)), {}),
        "list and tuple of tensors": ([torch.ones(1), (torch.zeros(2), None, True, 1.5, "text", b"bytes")], {}),
        "checkpoint with an optimizer": ({"model": model.state_dict(), "optimizer": torch.optim.AdamW(model.parameters()).state_dict(), "step": 7, "lr": 1e-4}, {}),
        "empty tensor and a scalar": ({"e": torch.zeros(0, 3), "s": torch.tensor(2.5)}, {}),
        "size, dtype and device": ({"size": torch.Size([1, 2]), "dtype": torch.bfloat16, "device": torch.device("cpu")}, {}),
        "sparse tensor": ({"s": torch.eye(3).to_sparse()}, {}),
        "state dict, protocol 4, in the form of before 2020": (model.state_dict(), {"pickle_protocol": 4, "_use_new_zipfile_serialization": False}),
        "state dict, protocol 5, in the form of before 2020": (model.state_dict(), {"pickle_protocol": 5, "_use_new_zipfile_serialization": False}),
        "checkpoint in the form of before 2020": ({"state_dict": half.state_dict(), "optimizer": torch.optim.SGD(half.parameters(), lr=0.1, momentum=0.9).state_dict(), "epoch": 3, "args": {"lr": 0.1, "betas": (0.9, 0.95)}}, {"_use_new_zipfile_serialization": False}),
        "views and rows in columns in the form of before 2020": ({"a": big[1:3], "b": big.t(), "c": big[:, ::2], "d": big}, {"_use_new_zipfile_serialization": False}),
        "parameters in the form of before 2020": (torch.nn.ParameterList([torch.nn.Parameter(torch.ones(2), requires_grad=False), torch.nn.Parameter(torch.zeros(1))]).state_dict(), {"_use_new_zipfile_serialization": False}),
        "model with buffers": (torch.nn.Sequential(torch.nn.Conv1d(2, 3, 1), torch.nn.BatchNorm1d(3)).state_dict(), {}),
        "model with buffers in the form of before 2020": (torch.nn.Sequential(torch.nn.Conv1d(2, 3, 1), torch.nn.BatchNorm1d(3)).state_dict(), {"_use_new_zipfile_serialization": False}),
        "adapter": (collections.OrderedDict([("base_model.model.layers.0.self_attn.q_proj.lora_A.weight", torch.ones(2, 4)), ("base_model.model.layers.0.self_attn.q_proj.lora_B.weight", torch.zeros(4, 2))]), {"pickle_protocol": 4}),
        "tensors with arrays and scalars of numpy beside them": ({"w": torch.ones(2), "mean": np.zeros(3, np.float32), "best": np.float64(0.5), "step": np.int64(3)}, {}),
        "the same in the form of before 2020": ({"w": torch.ones(2), "mean": np.zeros(3, np.float32), "best": np.float64(0.5), "step": np.int64(3)}, {"_use_new_zipfile_serialization": False, "pickle_protocol": 4}),
        "conjugate": ({"c": torch.ones(2, dtype=torch.complex64).conj()}, {}),
        "quantized tensor": ({"q": torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8)}, {}),
        "quantized by channel": ({"q": torch.quantize_per_channel(torch.ones(2, 3), torch.ones(2), torch.zeros(2), 0, torch.qint8)}, {}),
        "float8": ({"w": torch.ones(4, 4).to(torch.float8_e4m3fn), "s": torch.ones(1)}, {}),
        **{f"tensor of {str(d)[6:]}": ({"w": torch.ones(2, 3).to(d)}, {}) for d in dtypes},
        **{f"tensor of {str(d)[6:]} in the form of before 2020": ({"w": torch.ones(2, 3).to(d)}, {"_use_new_zipfile_serialization": False}) for d in dtypes},
    }
    for title, (value, options) in things.items():
        out = io.BytesIO()
        torch.save(value, out, **options)
        yield title, "model.pt", out.getvalue()
    for name in ("model.bin", "model.ckpt", "model.pth"):
        out = io.BytesIO()
        torch.save(model.state_dict(), out)
        yield f"state dict called {name}", name, out.getvalue()
    yield from benign_numpy()


def benign_numpy():
    arrays = {"float32": np.ones((2, 3), np.float32), "float16": np.zeros(5, np.float16), "int64": np.arange(4), "columns first": np.asfortranarray(np.ones((2, 3))), "scalar": np.array(1.5), "empty": np.zeros((0, 2)), "complex": np.ones(2, np.complex64), "bool": np.array([True]), "big-endian": np.ones(2, ">f4")}
    for title, array in arrays.items():
        out = io.BytesIO()
        np.save(out, array, allow_pickle=False)
        yield f"array: {title}", "a.npy", out.getvalue()
    out = io.BytesIO()
    np.savez(out, **{title.replace(" ", "_"): array for title, array in arrays.items()})
    yield "archive of arrays", "a.npz", out.getvalue()
    out = io.BytesIO()
    np.savez_compressed(out, a=np.arange(1000), b=np.ones((30, 30)))
    yield "compressed archive of arrays", "a.npz", out.getvalue()
    for protocol in range(6):
        yield f"pickle of an array, protocol {protocol}", "a.pkl", pickle.dumps({"a": np.ones((2, 3), np.float32), "s": np.float32(2)}, protocol)
        yield f"pickle of plain values, protocol {protocol}", "a.pkl", pickle.dumps({"a": [1, -2, 3.5, None, True, "text", b"bytes", (1, 2)], "big": 2**70, "s": {1, 2}, "f": frozenset([3]), "o": collections.OrderedDict(x=1)}, protocol)
        yield f"pickle of arrays in two orders and of scalars, protocol {protocol}", "a.pkl", pickle.dumps([np.asfortranarray(np.ones((2, 3))), np.arange(3, dtype=">i2"), np.zeros((0, 2)), np.float16(1), np.bool_(True), np.int64(2), np.complex64(1j)], protocol)


def write(name, what, entries, versions):
    certificate = {"what": what, "script": "scripts/reference/audit-pickles.py", "python": platform.python_version(), "numpy": np.__version__, **versions, "date": datetime.date.today().isoformat()}
    (OUT / name).write_text(json.dumps({"certificate": certificate, "files": entries}, indent=1) + "\n")


def kept(entries):
    return [{"name": n, "file": f, "deflate": base64.b64encode(zlib.compress(d, 9)).decode()} for n, f, d in entries]


OUT.mkdir(parents=True, exist_ok=True)
if "--numpy-1" in sys.argv:
    write("benign-numpy-1.json", "files of numpy.save and pickle.dumps with numpy 1", kept(benign_numpy()), {})
    sys.exit()
if "--benign-only" not in sys.argv:
    write("malicious.json", "files that run code when Python reads them, or that readers differ about", malicious(), {})
if "--malicious-only" not in sys.argv:
    import torch

    write("benign.json", "files of torch.save, numpy.save and pickle.dumps", kept(benign()), {"torch": torch.__version__})
