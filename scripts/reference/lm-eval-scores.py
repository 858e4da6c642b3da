"""Makes test/golden/evaluate/lm-eval.json: what lm-evaluation-harness makes of a model behind `hadal serve`, item by item.

  python scripts/reference/lm-eval-scores.py MODEL OUT
    MODEL  SmolLM2-135M-Instruct.Q4_1.gguf
    OUT    test/golden/evaluate/lm-eval.json
Needs: lm-eval[api] 0.4.9.2 with transformers below 5 and datasets below 4, and a built checkout: it starts `hadal serve` itself.

Tasks are Hadal's own files with what lm-eval needs beside: where the items are. Examples are the first of a file.
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

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
GOLDEN = os.path.join(ROOT, "test/golden/evaluate")
PORT = 11799
# Hadal's task, the items, examples in a prompt.
TASKS = {
    "sums": (os.path.join(ROOT, "src/evaluate/tasks/gsm8k.json"), "sums", 5),
    "letters": (os.path.join(GOLDEN, "letters.yaml"), "facts", 3),
}
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
            f.writelines(json.dumps(line) + "\n" for line in lines if subject is None or line["subject"] == subject)
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


def main(model, out):
    out = os.path.abspath(out)
    about = json.loads(subprocess.check_output(["node", os.path.join(ROOT, "dist/cli/main.js"), "version", "--json"]))
    child, name = served(model)
    try:
        # It tells where tasks are, and fails for those outside its own folder.
        with tempfile.TemporaryDirectory(dir=os.path.dirname(lm_eval.tasks.__file__)) as folder:
            names = {}
            for task, (path, items, shots) in TASKS.items():
                for subject in SUBJECTS if items == "facts" else (None,):
                    part = task if subject is None else f"{task}_{subject}"
                    written(folder, part, path, items, shots, subject)
                    names[part] = task
            args = {
                "model": name, "base_url": f"http://127.0.0.1:{PORT}/v1/completions", "num_concurrent": 1,
                "max_retries": 1, "tokenized_requests": False, "tokenizer_backend": None, "max_length": 2048,
            }
            result = lm_eval.simple_evaluate(
                model="local-completions", model_args=args, tasks=list(names), log_samples=True,
                task_manager=TaskManager(include_path=folder, include_defaults=False), bootstrap_iters=0,
            )
    finally:
        child.terminate()
        child.wait()
    tasks = {}
    for part, samples in result["samples"].items():
        of = tasks.setdefault(names[part], {})
        for sample in samples:
            key = sample["doc"]["question"]
            item = of.setdefault(key, {"scores": {}})
            [[asked, _]] = sample["arguments"]
            [[answer]] = sample["resps"]
            item |= {"asked": asked, "answer": answer}
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
        "tasks": {task: in_order(task, found) for task, found in tasks.items()},
    }
    with open(out, "w") as f:
        json.dump(document, f, indent=1, ensure_ascii=False)
        f.write("\n")


main(*sys.argv[1:3])
