"""Makes test/golden/evaluate/lm-eval.json: what lm-evaluation-harness makes of a model behind `hadal serve`, item by item.

  python scripts/reference/lm-eval-scores.py MODEL OUT [TASK ...]
    MODEL  SmolLM2-135M-Instruct.Q4_1.gguf
    OUT    test/golden/evaluate/lm-eval.json; tasks that are not named keep what it has
    TASK   all otherwise
Needs: lm-eval[api] 0.4.9.2 with transformers below 5 and datasets below 4, gguf, and a built checkout: it starts `hadal serve` itself.

Tasks are Hadal's own files with what lm-eval needs beside: where the items are. Examples are the first of a file. What is
likeliest is judged by the log-probabilities that the server has of prompts, cut by transformers' tokenizer of the model.
"""
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request

import lm_eval
import lm_eval.tasks
import yaml
from lm_eval.tasks import TaskManager
from transformers import AutoTokenizer

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
GOLDEN = os.path.join(ROOT, "test/golden/evaluate")
PORT = 11799
OWN = os.path.join(ROOT, "src/evaluate/tasks")
# Hadal's task, the items, examples in a prompt.
TASKS = {
    "sums": (os.path.join(OWN, "gsm8k.json"), "sums", 5),
    "letters": (os.path.join(GOLDEN, "letters.yaml"), "facts", 3),
    "mmlu": (os.path.join(OWN, "mmlu.json"), "facts", 3),
    "gpqa": (os.path.join(OWN, "gpqa.json"), "facts", 0),
    "cloze": (os.path.join(GOLDEN, "cloze.yaml"), "facts", 2),
}
# The likeliest of choices; the others write.
LIKELIEST = ("mmlu", "gpqa", "cloze")
NOT_LM_EVAL = ("source", "group_by", "program", "program_timeout_s", "shuffled_choices", "target_filter")
# Examples are of the item's subject: lm-eval has a task for each.
SUBJECTS = ("geography", "science")


def written(folder, name, path, items, shots, subject=None):
    task = yaml.safe_load(open(path))
    for field in NOT_LM_EVAL:
        task.pop(field, None)
    rows = {}
    for split, suffix in (("test", ""), ("train", ".shots")):
        rows[split] = os.path.join(folder, f"{name}{suffix}.jsonl")
        lines = [json.loads(line) for line in open(os.path.join(GOLDEN, f"{items}{suffix}.jsonl"))]
        with open(rows[split], "w") as f:
            # GPQA's name of the field.
            lines = [line | {"Question": line["question"]} for line in lines if subject in (None, line.get("subject"))]
            f.writelines(json.dumps(line) + "\n" for line in lines)
    task |= {
        "task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": rows}, "test_split": "test",
        "fewshot_split": "train", "fewshot_config": {"sampler": "first_n"}, "num_fewshot": shots,
    }
    for metric in task["metric_list"]:
        metric |= {"aggregation": "mean", "higher_is_better": True}
    if "generation_kwargs" in task:
        task["generation_kwargs"] |= {"do_sample": False, "temperature": 0.0}
    with open(os.path.join(folder, name + ".yaml"), "w") as f:
        yaml.safe_dump(task, f)


def served(model):
    main = os.path.join(ROOT, "dist/cli/main.js")
    child = subprocess.Popen(["node", main, "serve", model, "--port", str(PORT)], stderr=subprocess.DEVNULL)
    for _ in range(600):
        try:
            listed = json.load(urllib.request.urlopen(f"http://127.0.0.1:{PORT}/v1/models"))
            return child, listed["data"][0]["id"]
        except OSError:
            time.sleep(0.2)
    raise SystemExit("hadal serve does not answer")


def in_order(task, found):
    with open(os.path.join(GOLDEN, TASKS[task][1] + ".jsonl")) as f:
        return [found[json.loads(line)["question"]] for line in f]


def main(model, out, *wanted):
    out = os.path.abspath(out)
    about = json.loads(subprocess.check_output(["node", os.path.join(ROOT, "dist/cli/main.js"), "version", "--json"]))
    child, name = served(model)
    try:
        # It tells where tasks are, and fails for those outside its own folder.
        with tempfile.TemporaryDirectory(dir=os.path.dirname(lm_eval.tasks.__file__)) as folder:
            names = {}
            for task in wanted or TASKS:
                path, items, shots = TASKS[task]
                for subject in SUBJECTS if items == "facts" else (None,):
                    part = task if subject is None else f"{task}_{subject}"
                    written(folder, part, path, items, shots, subject)
                    names[part] = task
            tokenizer = os.path.join(folder, "tokenizer")
            where, file = os.path.split(os.path.abspath(model))
            AutoTokenizer.from_pretrained(where, gguf_file=file).save_pretrained(tokenizer)
            manager = TaskManager(include_path=folder, include_defaults=False)
            samples = {}
            for likeliest in (False, True):
                parts = [part for part, task in names.items() if (task in LIKELIEST) == likeliest]
                if not parts:
                    continue
                args = {
                    "model": name, "base_url": f"http://127.0.0.1:{PORT}/v1/completions", "num_concurrent": 1,
                    "max_retries": 1, "max_length": 2048, "tokenized_requests": likeliest,
                    "tokenizer_backend": "huggingface" if likeliest else None,
                } | ({"tokenizer": tokenizer} if likeliest else {})
                result = lm_eval.simple_evaluate(
                    model="local-completions", model_args=args, tasks=parts, log_samples=True,
                    task_manager=manager, bootstrap_iters=0,
                )
                samples |= result["samples"]
    finally:
        child.terminate()
        child.wait()
    tasks = {}
    for part, found in samples.items():
        of = tasks.setdefault(names[part], {})
        for sample in found:
            key = sample["doc"]["question"]
            item = of.setdefault(key, {"scores": {}})
            arguments, resps = sample["arguments"], sample["resps"]
            item["asked"] = arguments[0][0]
            if names[part] in LIKELIEST:
                item |= {"choices": [choice for _, choice in arguments], "answer": [logprob for [[logprob, _]] in resps]}
            else:
                [[item["answer"]]] = resps
            for metric in sample["metrics"]:
                item["scores"][f"{metric},{sample['filter']}"] = sample[metric]
    document = {
        "certificate": {
            "script": "scripts/reference/lm-eval-scores.py",
            "oracle": f"lm-eval {lm_eval.__version__}, local-completions against hadal serve",
            "model": os.path.basename(model),
            "isa": about["backend"]["isa"],
            "date": datetime.date.today().isoformat(),
        },
    }
    kept = json.load(open(out))["tasks"] if os.path.exists(out) else {}
    kept |= {task: in_order(task, found) for task, found in tasks.items()}
    document["tasks"] = {task: kept[task] for task in TASKS if task in kept}
    with open(out, "w") as f:
        json.dump(document, f, indent=1, ensure_ascii=False)
        f.write("\n")


main(*sys.argv[1:])
