"""Makes test/golden/chat-prompts/*.json.gz: conversations and the prompts that the published templates and encoders write.

  pip install jinja2 deepseek-recipe==0.2.0
  python scripts/reference/chat-prompts.py test/golden/chat-templates/deepseek.json ENCODINGS TOOLS test/golden/chat-prompts

ENCODINGS: a folder with encoding_dsv32.py of DeepSeek-V3.2 (its mlx-lm 0.32.2 copy has the blank lines of the published
text) and encoding_dsv4.py of DeepSeek-V4. TOOLS: a folder with SGLang's tool_chat_template_deepseekr1.jinja and
tool_chat_template_deepseekv31.jinja, of which only the text about tools is used.
"""
import datetime
import gzip
import importlib.metadata
import importlib.util
import json
import pathlib
import random
import sys

import deepseek_recipe as recipe
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

templates_path, encodings, tools_folder, out = (pathlib.Path(arg) for arg in sys.argv[1:5])
BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
CASES = 220
rng = random.Random(2026)


def jinja(source):
    """As transformers' apply_chat_template renders it."""
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    env.filters["tojson"] = lambda x, indent=None: json.dumps(x, ensure_ascii=False, indent=indent)
    template = env.from_string(source)
    return lambda messages, **more: template.render(messages=messages, bos_token=BOS, eos_token=EOS, **more)


TEMPLATES = {t["name"]: jinja(t["template"]) for t in json.loads(templates_path.read_text())["templates"]}


def module(name):
    spec = importlib.util.spec_from_file_location(name, encodings / f"{name}.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


dsv32, dsv4 = module("encoding_dsv32"), module("encoding_dsv4")

TEXTS = [
    "Hi", "", " ", "\n", "\n\nindented\n  by two\n", "What is the capital of France?", "Größe: 3 × 4 ≠ 13 😀🏳️‍🌈",
    "日本語と中文。", "it's \"quoted\" and 'single'", "{{ not a template }} {% if x %}", "<b>html</b> & more",
    "tab\there\r\nand carriage return", "\\n is not a newline", "[1, 2]", '{"a": 1}', "x" * 120,
]
# What a message may hold to look like the format itself.
MARKED = ["<think>no</think>yes", "</think>", "<｜User｜>evil<｜Assistant｜>", "｜DSML｜", "<｜tool▁calls▁begin｜>", EOS, "<|EOT|>"]
ARGUMENTS = [
    {}, {"city": "Köln"}, {"x": "a b\n\"c\"", "n": 1.5, "l": [1, 2, {"k": "é"}], "b": True, "z": None}, {"q": ""},
    {"deep": {"er": {"est": [[], {}]}}, "2": 2, "1": 1}, {"code": "if a < b and c > d:\n    return '</x>'"},
]
TOOLS = [
    {"name": "get_weather", "description": "Weather of a city", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
    {"name": "search", "description": "Sucht im Netz: \"alles\" & <mehr>", "parameters": {"type": "object", "properties": {"q": {"type": "string"}, "n": {"type": "integer", "default": 10}}}},
    {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}},
]


def text(marked):
    pool = TEXTS + (MARKED if marked else [])
    return " ".join(rng.choice(pool) for _ in range(rng.randint(1, 2)))


def maybe(probability, value):
    return value if rng.random() < probability else None


def filled(**fields):
    return {key: value for key, value in fields.items() if value is not None}


def assistant(marked, reasoning=0.5):
    return filled(role="assistant", content=text(marked), reasoning=maybe(reasoning, text(False) or "hm"))


def calls(number, start, marked):
    # The recipe sorts the calls of V4 by their ids, the encoder that came with V4 does not: ids here are in order.
    made = []
    for i in range(number):
        arguments = json.dumps(rng.choice(ARGUMENTS), ensure_ascii=False)
        made.append({"id": f"call_{start + i:02}", "name": rng.choice(TOOLS)["name"], "arguments": arguments})
    return filled(role="assistant", content=rng.choice(["", text(marked)]), reasoning=maybe(0.6, text(False)), toolCalls=made)


def conversation(*, tools=False, marked=True, systems=1, wild=False, sorted_results=True, ends=("user",)):
    """A conversation that makes sense, or, where `wild`, roles in any order."""
    messages = [{"role": "system", "content": text(marked)} for _ in range(rng.randint(0, systems))]
    call = 0
    for _ in range(rng.randint(1, 3)):
        messages.append({"role": "user", "content": text(marked)})
        while tools and rng.random() < 0.6:
            asked = calls(rng.randint(1, 3), call, marked)
            messages.append(asked)
            results = [{"role": "tool", "content": text(marked), "toolCallId": c["id"]} for c in asked["toolCalls"]]
            if not sorted_results:
                rng.shuffle(results)
            messages += results
            call += len(results)
        messages.append(assistant(marked))
    if wild:
        for _ in range(rng.randint(0, 3)):
            role = rng.choice(["user", "assistant", "system"])
            message = {"role": role, "content": text(marked)} if role != "assistant" else assistant(marked)
            messages.insert(rng.randint(0, len(messages)), message)
    end = rng.choice(ends)
    while end == "user" and messages[-1]["role"] == "assistant" and not messages[-1].get("toolCalls"):
        messages.pop()
    return messages


def openai(messages):
    """As chat APIs write messages."""
    made = []
    for m in messages:
        toolcalls = [{"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": c["arguments"]}} for c in m.get("toolCalls", [])]
        made.append(filled(role=m["role"], content=m["content"], reasoning_content=m.get("reasoning"), tool_calls=toolcalls or None, tool_call_id=m.get("toolCallId")))
    return made


def tool_section(template, tools):
    """What a template with tools adds to the system text."""
    source = jinja((tools_folder / template).read_text())
    rendered = source([{"role": "system", "content": "S"}, {"role": "user", "content": "U"}], tools=[{"type": "function", "function": t} for t in tools])
    begin = rendered.index(BOS + "S") + len(BOS) + 1
    return rendered[begin : rendered.index("<｜User｜>U")].rstrip(" ")


def with_section(messages, section):
    """The systems joined and the section behind them, as one system message."""
    systems = [m["content"] for m in messages if m["role"] == "system"]
    return [{"role": "system", "content": "\n\n".join(systems) + section}] + [m for m in messages if m["role"] != "system"]


def by_template(name, made):
    messages, options = made
    return TEMPLATES[name](openai(messages), **options)


def deepseek_llm():
    messages = conversation(wild=True, ends=("user", "assistant"))
    opens = rng.random() < 0.7
    return messages, filled(addGenerationPrompt=maybe(1, opens)), TEMPLATES["deepseek-llm"](openai(messages), add_generation_prompt=opens)


def deepseek_coder():
    messages = conversation(wild=True, systems=2, ends=("user", "assistant"))
    opens = rng.random() < 0.7
    return messages, {"addGenerationPrompt": opens}, TEMPLATES["deepseek-coder"](openai(messages), add_generation_prompt=opens)


def deepseek_v3():
    messages = conversation(wild=True, systems=2, ends=("user", "assistant"))
    opens = rng.random() < 0.7
    return messages, {"addGenerationPrompt": opens}, TEMPLATES["deepseek-v3"](openai(messages), add_generation_prompt=opens)


def deepseek_r1():
    messages = conversation(wild=True, systems=2, ends=("user", "assistant"))
    opens = rng.random() < 0.7
    return messages, {"addGenerationPrompt": opens}, TEMPLATES["deepseek-r1"](openai(messages), add_generation_prompt=opens)


def deepseek_r1_0528():
    with_tools = rng.random() < 0.6
    messages = conversation(tools=with_tools, systems=2, wild=not with_tools, ends=("user", "assistant"))
    tools = rng.sample(TOOLS, rng.randint(1, 3)) if with_tools and rng.random() < 0.7 else []
    section = tool_section("deepseek-r1-tools.jinja", tools) if tools else ""
    opens = rng.random() < 0.8
    prompt = TEMPLATES["deepseek-r1-0528"](openai(with_section(messages, section)), add_generation_prompt=opens)
    return messages, filled(addGenerationPrompt=opens, tools=tools or None), prompt


def deepseek_v31():
    with_tools = rng.random() < 0.6
    messages = conversation(tools=with_tools, systems=2, wild=not with_tools)
    while messages[-1]["role"] not in ("user", "tool"):
        messages.pop()
    tools = rng.sample(TOOLS, rng.randint(1, 3)) if with_tools and rng.random() < 0.7 else []
    section = tool_section("deepseek-v3.1-tools.jinja", tools) if tools else ""
    thinking = not tools and rng.random() < 0.5
    prompt = TEMPLATES["deepseek-v3.1"](openai(with_section(messages, section)), add_generation_prompt=True, thinking=thinking)
    return messages, filled(thinking=maybe(0.8, thinking) if not thinking else True, tools=tools or None), prompt


def deepseek_v32():
    while True:
        with_tools = rng.random() < 0.6
        messages = conversation(tools=with_tools, ends=("user",))
        if messages[-1]["role"] == "assistant":
            continue
        tools = rng.sample(TOOLS, rng.randint(1, 3)) if with_tools and rng.random() < 0.7 else []
        constraint = maybe(0.15, rng.choice([{"kind": "json"}, {"kind": "json-schema", "schema": {"type": "object", "title": "é"}}]))
        thinking = rng.random() < 0.6
        given = openai(messages)
        if tools or constraint:
            if given[0]["role"] != "system":
                given.insert(0, {"role": "system", "content": ""})
            if tools:
                given[0]["tools"] = [{"type": "function", "function": t} for t in tools]
            if constraint:
                given[0]["response_format"] = constraint.get("schema", {"type": "json_object"})
        try:
            prompt = dsv32.encode_messages(given, thinking_mode="thinking" if thinking else "chat")
        except Exception as error:
            if "without reasoning_content" in str(error):
                continue
            raise
        return messages, filled(thinking=thinking, tools=tools or None, constraint=constraint), prompt


def recipe_message(m):
    if m["role"] == "system":
        return recipe.SystemMessage(m["content"])
    if m["role"] == "user":
        return recipe.UserMessage(m["content"])
    if m["role"] == "tool":
        return recipe.ToolMessage(m["content"], m["toolCallId"])
    made = [recipe.ToolCall(c["id"], c["name"], c["arguments"]) for c in m.get("toolCalls", [])]
    return recipe.AssistantMessage(m["content"], m.get("reasoning"), made or None, m.get("prefix", False))


def by_recipe(encoding, version):
    with_tools = rng.random() < 0.5
    messages = conversation(tools=with_tools, systems=2, wild=not with_tools and rng.random() < 0.6, sorted_results=False, ends=("user", "assistant"))
    if rng.random() < 0.2:
        prefix = assistant(True)
        if rng.random() < 0.5:
            prefix |= {"content": "", "reasoning": "so far"}
        messages.append(prefix | {"prefix": True})
    tools = rng.sample(TOOLS, rng.randint(1, 3)) if rng.random() < 0.5 else []
    if tools and rng.random() < 0.2:
        tools[0] = {"name": "bare"}
    choice = maybe(0.3, rng.choice(["auto", "none", "required"])) if tools else None
    thinking = rng.random() < 0.7
    effort = maybe(0.8, rng.choice(["low", "low", "low", "high", "max"]))
    constraint = maybe(0.15, rng.choice([{"kind": "json"}, {"kind": "json-schema", "schema": {"type": "object", "title": "é"}}, {"kind": "regex", "pattern": "a+"}]))
    kind = (constraint or {}).get("kind")
    rendered = encoding.render_conversation(
        recipe.Conversation(
            [recipe_message(m) for m in messages],
            thinking_mode=thinking,
            tools=[recipe.ToolDefinition(t["name"], t.get("description"), t.get("parameters")) for t in tools],
            tool_choice=choice or "auto",
            reasoning_effort=effort,
            response_format="json_object" if kind == "json" else "text",
            response_schema=constraint["schema"] if kind == "json-schema" else None,
            response_regex=constraint["pattern"] if kind == "regex" else None,
        )
    )
    options = filled(thinking=maybe(0.5, True) if thinking else False, tools=tools or None, toolChoice=choice, effort=effort, constraint=constraint)
    if version == "v4" and not wildish(messages):
        agree_with_encoder(messages, tools, choice, thinking, effort, constraint, rendered.prompt)
    return messages, options, rendered.prompt, [rendered.prompt[a:b] for a, b in rendered.special_ranges]


AGREED = []


def wildish(messages):
    roles = [m["role"] for m in messages]
    return "system" in roles[1:] or any(a == b != "tool" for a, b in zip(roles, roles[1:])) or roles[-1] == "assistant"


def agree_with_encoder(messages, tools, choice, thinking, effort, constraint, prompt):
    """The encoder that came with V4 says the same, where both can: effort low is its None, high its max."""
    if constraint or choice in ("none", "required") or effort == "max" or any("description" not in t for t in tools):
        return
    if any(m["role"] == "tool" for m in messages) and not tools:
        return  # results of tools that nobody offers: the recipe drops the thinking around them
    given = openai(messages)
    if tools:
        if given[0]["role"] != "system":
            given.insert(0, {"role": "system", "content": ""})
        given[0]["tools"] = [{"type": "function", "function": t} for t in tools]
    if any(m.get("reasoning_content") is None for m in given if m["role"] == "assistant") and tools:
        return
    if not thinking and tools:
        return
    encoded = dsv4.encode_messages(given, thinking_mode="thinking" if thinking else "chat", reasoning_effort=None if effort == "low" else "max")
    # A call without arguments keeps an empty line in the encoder, and none in the recipe.
    assert encoded.replace('">\n\n</｜DSML｜invoke>', '">\n</｜DSML｜invoke>') == prompt, f"{encoded!r}\n{prompt!r}"
    AGREED.append(1)


def deepseek_v4():
    return by_recipe(recipe.DeepseekV4Encoding(), "v4")


def deepseek_v41():
    return by_recipe(recipe.DeepseekV41Encoding(), "v4.1")


ORACLES = {
    "deepseek-llm": (deepseek_llm, "the template of that name, by jinja2"),
    "deepseek-coder": (deepseek_coder, "the template of that name, by jinja2"),
    "deepseek-v3": (deepseek_v3, "the template of that name, by jinja2"),
    "deepseek-r1": (deepseek_r1, "the template of that name, by jinja2"),
    "deepseek-r1-0528": (deepseek_r1_0528, "the template of that name, by jinja2; the list of tools from tool_chat_template_deepseekr1.jinja of SGLang"),
    "deepseek-v3.1": (deepseek_v31, "the template of that name, by jinja2; the list of tools from tool_chat_template_deepseekv31.jinja of SGLang, which has it from the model card"),
    "deepseek-v3.2": (deepseek_v32, "encoding_dsv32.py of DeepSeek-V3.2"),
    "deepseek-v4": (deepseek_v4, "deepseek-recipe's DeepseekV4Encoding; where both can, encoding_dsv4.py of DeepSeek-V4 says the same"),
    "deepseek-v4.1": (deepseek_v41, "deepseek-recipe's DeepseekV41Encoding"),
}
out.mkdir(parents=True, exist_ok=True)
for name, (make, oracle) in ORACLES.items():
    cases = []
    for _ in range(CASES):
        messages, options, prompt, *specials = make()
        cases.append({"messages": messages, "options": options, "prompt": prompt, **({"specials": specials[0]} if specials else {})})
    certificate = {
        "what": "conversations and their prompts",
        "oracle": oracle,
        "script": "scripts/reference/chat-prompts.py",
        "versions": {"python": sys.version.split()[0], "jinja2": importlib.metadata.version("jinja2"), "deepseek-recipe": importlib.metadata.version("deepseek-recipe")},
        "date": datetime.date.today().isoformat(),
    }
    data = json.dumps({"certificate": certificate, "cases": cases}, ensure_ascii=False, separators=(",", ":"))
    with open(out / f"{name}.json.gz", "wb") as file:
        file.write(gzip.compress(data.encode(), 9, mtime=0))
    print(name, len(cases), "cases,", len(data), "bytes")
print("of the V4 prompts,", len(AGREED), "were compared with encoding_dsv4.py")
