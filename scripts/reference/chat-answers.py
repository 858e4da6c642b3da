"""Makes test/golden/chat-answers.json: answers in the tags of V4, whole and broken, as DeepSeek's own parser reads them.

  pip install deepseek-recipe==0.2.0
  python scripts/reference/chat-answers.py > test/golden/chat-answers.json
"""
import datetime
import importlib.metadata
import json

import deepseek_recipe as recipe

D = "｜DSML｜"
NAMES = {"deepseek-v4": ("tool_calls", "invoke", "parameter"), "deepseek-v4.1": (" calls", " invoke", " parameter")}
ENCODINGS = {"deepseek-v4": recipe.ModelVersion.DeepseekV4Pro, "deepseek-v4.1": recipe.ModelVersion.DeepseekV41Flash}
STAGES = {"reasoning": recipe.ThinkingInitialStage.ReasoningStart, "content": None}


def read(text, version, opens, tools, in_calls):
    tool = recipe.ToolDefinition("f", "d", {"type": "object"})
    request = recipe.ConversationRequest(recipe.Conversation([recipe.UserMessage("hi")], tools=[tool]), version)
    options = recipe.ParsingOptions(parse_tool_calls=tools, thinking_initial_stage=STAGES[opens], starts_in_tool_calls=in_calls)
    processor = recipe.StreamProcessor(recipe.ChatCompletionRequest.chunk_generator(request, "id", "m"), options)
    chunks = processor.push(recipe.InferenceChunk.ready())
    chunks += processor.push(recipe.InferenceChunk.text(text, 1))
    chunks += processor.push(recipe.InferenceChunk.finish(recipe.InferenceFinishReason.Stop)) + processor.finish()
    answer = {"reasoning": "", "content": "", "calls": []}
    for chunk in chunks:
        for choice in json.loads(chunk.to_json())["choices"]:
            delta = choice["delta"]
            answer["reasoning"] += delta.get("reasoning_content") or ""
            answer["content"] += delta.get("content") or ""
            for part in delta.get("tool_calls") or []:
                if part["index"] == len(answer["calls"]):
                    answer["calls"].append({"name": "", "arguments": ""})
                call = answer["calls"][part["index"]]
                call["name"] += part["function"].get("name") or ""
                call["arguments"] += part["function"].get("arguments") or ""
    return answer


def cases(names):
    block, invoke, parameter = names
    text = f'<{D}{parameter} name="x" string="true">a "b"\n</{D}{parameter}>\n'
    number = f'<{D}{parameter} name="n" string="false">5</{D}{parameter}>\n'
    call = f'<{D}{invoke} name="f">\n{text}{number}</{D}{invoke}>\n'
    open_, close = f"\n\n<{D}{block}>\n", f"</{D}{block}>"
    whole = f"{open_}{call}{close}"
    r = "why</think>"
    yield "thinking and an answer", "\n\nthinking\n</think>\n\nAnswer\n", {}
    yield "an answer without thinking", "\n\nhello", {"opens": "content"}
    yield "a call", f"{r}ok{whole}", {}
    yield "two calls", f"{r}{open_}{call}{call}{close}", {}
    yield "a call without arguments", f'{r}{open_}<{D}{invoke} name="f">\n</{D}{invoke}>\n{close}', {}
    yield "a call alone, without thinking", whole, {"opens": "content"}
    yield "a block that the prompt opened", whole[len(open_):], {"in_calls": True, "opens": "content"}
    yield "a call that nobody offered", f"{r}ok{whole}", {"tools": False}
    yield "a call inside thinking that is not closed", f"why{whole}", {}
    yield "thinking closed behind the call", f"why{whole}</think>x", {}
    yield "thinking that never ends", "only thinking", {}
    yield "thinking closed twice", f"{r}c</think>d", {}
    yield "thinking closed that was never open", "</think>hello", {"opens": "content"}
    yield "thinking opened within the answer", f"{r}c<think>more", {}
    yield "text behind the calls", f"{r}c{whole}\n\nafter", {}
    yield "a second block", f"{r}c{whole}{whole}", {}
    yield "newlines before the block", f"{r}c  \n\n{whole}", {}
    yield "no newlines at all", f"{r}c" + whole.replace("\n", ""), {}
    yield "calls outside a block", f"{r}c\n\n{call}", {}
    yield "another word between tags", f"{r}c" + whole.replace(number, f"junk {number}"), {}
    yield "a value that is broken JSON", f"{r}" + whole.replace(">5<", ">{5<"), {}
    yield "a parameter twice", f"{r}" + whole.replace('name="n"', 'name="x"'), {}
    yield "a call without a name", f"{r}c" + whole.replace(' name="f"', ""), {}
    yield "a closing tag alone", f"{r}c\n\n{close}x", {}
    yield "an end inside the first tag", f"{r}c{open_[:-4]}", {}
    yield "an end inside a value", f"{r}c" + whole[: whole.index('"b"')], {}
    yield "an end behind the parameters", f"{r}c" + whole[: whole.index(f"</{D}{invoke}")], {}
    yield "an end before the block is closed", f"{r}c" + whole[: whole.index(close)], {}


made = []
for format_, names in NAMES.items():
    for title, text, options in cases(names):
        opens, tools, in_calls = options.get("opens", "reasoning"), options.get("tools", True), options.get("in_calls", False)
        answer = read(text, ENCODINGS[format_], opens, tools, in_calls)
        made.append({"format": format_, "title": title, "text": text, "opens": "tool-calls" if in_calls else opens, "tools": tools, "answer": answer})
certificate = {
    "what": "answers and how the StreamProcessor of deepseek-recipe reads them",
    "script": "scripts/reference/chat-answers.py",
    "versions": {"deepseek-recipe": importlib.metadata.version("deepseek-recipe")},
    "date": datetime.date.today().isoformat(),
}
print(json.dumps({"certificate": certificate, "cases": made}, ensure_ascii=False, indent=1))
