"""Plants mutants of universalmutator (from pip) and lists those that no test notices.

    cmake -S . -B build-mutate -DBM3_GPU=OFF && cmake --build build-mutate -j 2
    python3 tests/mutate.py build-mutate --count 200 --seed 1

Only objects in the build folder change. A line of BUILD/mutants.tsv is a mutant: file, line,
outcome, the old and the new text. Outcomes: killed by a program, survived, and those not counted:
skipped and invalid (do not compile), same (the object has the same bytes). A second call goes on
after the last line."""
import argparse
import contextlib
import json
import os
import pathlib
import random
import resource
import shlex
import signal
import subprocess
import tempfile

from universalmutator.mutator import mutants_regexp

RULES = ["universal.rules", "c_like.rules", "cpp.rules"]
FOLDERS = ["src/models", "src/layers", "src/ops/cpu", "src/ops/choose.cpp", "src/train.cpp",
           "src/evaluate.cpp", "src/data"]
# By the beginning of a file's name: the programs of tests that are likely to notice, tried first.
LIKELY = {"src/data": ["inter", "npy", "files", "dataset"], "src/train": ["protocol", "training"],
          "src/evaluate": ["evaluate", "protocol"], "src/ops/cpu": ["ops", "goldens"],
          "src/ops/choose": ["choose", "cli"], "src/models": ["goldens", "bm3", "models"],
          "src/layers": ["batch", "negatives", "gradients", "goldens", "ops", "models"]}
UNCONCERNED = {"cuda_device", "cuda_host", "notes", "philox"}
SECONDS, BYTES = 240, 8 << 30  # for one program of tests


def sources():
    for folder in map(pathlib.Path, FOLDERS):
        yield from sorted(folder.glob("**/*.cpp")) if folder.is_dir() else [folder]


def mutants(seed):
    """Returns mutants (file, number of the line, its new text), drawn evenly from all of them."""
    found = []
    for file in sources():
        with contextlib.redirect_stdout(None):
            found += [(file, number, new) for number, new, *_ in
                      mutants_regexp(file.read_text().splitlines(True), RULES, ignorePatterns=[],
                                     ignoreStringOnly=True)]
    random.Random(seed).shuffle(found)
    return found


def hopeless(old, new):
    """Whether a mutant cannot compile, or changes a comment: no compiler need be asked."""
    at = len(os.path.commonprefix([old, new]))
    bracket = old[at:at + 1] in "<>" and not (old[at - 1:at] == " " == old[at + 1:at + 2])
    header = old.endswith("{") and not old.startswith(("for ", "if ", "while ", "} else"))
    return old.startswith(("//", "#", "template", "using", "namespace")) or bracket or header


def passes(program):
    """Runs a program of tests, and ends with it what it has started."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    process = subprocess.Popen([program, "--gtest_brief=1", "--gtest_fail_fast=1"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               start_new_session=True, preexec_fn=limit)
    try:
        return process.wait(SECONDS) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def killer(build, file):
    """Returns the program whose tests fail, "" where all pass."""
    first = next(names for start, names in LIKELY.items() if str(file).startswith(start))
    every = [p.stem[5:] for p in sorted(pathlib.Path("tests").glob("test_*.cpp"))] + ["ops"]
    rest = [name for name in every if name not in first and name not in UNCONCERNED]
    for name in first + rest:
        subprocess.run(["cmake", "--build", build, "--target", "test_" + name], check=True,
                       stdout=subprocess.DEVNULL)
        if not passes(build / ("test_" + name)):
            return name
    return ""


def outcome(build, command, file, text):
    """Compiles a mutant in the place of its file's object, and tests it."""
    words = shlex.split(command["command"])
    built = build / words[words.index("-o") + 1]
    right = built.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        mutant = pathlib.Path(folder) / file.name
        mutant.write_text(text)
        words = [str(mutant) if word == command["file"] else word for word in words]
        done = subprocess.run(words + [f"-I{file.parent}", "-w"], cwd=build,
                              stderr=subprocess.DEVNULL)
    try:
        if done.returncode != 0:
            return "invalid"
        if built.read_bytes() == right:
            return "same"
        name = killer(build, file)
        return "killed by " + name if name else "survived"
    finally:
        built.write_bytes(right)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("build", type=lambda text: pathlib.Path(text).resolve())
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    commands = {entry["file"]: entry
                for entry in json.loads((options.build / "compile_commands.json").read_text())}
    log = options.build / "mutants.tsv"
    done = log.read_text().splitlines() if log.exists() else []
    counted = sum("\tkilled" in line or "\tsurvived" in line for line in done)
    for at, (file, number, new) in enumerate(mutants(options.seed)):
        if counted >= options.count:
            break
        lines = file.read_text().splitlines(True)
        old, lines[number - 1] = lines[number - 1].strip(), new
        if at < len(done) or hopeless(old, new.strip()):
            result = "skipped"
        else:
            result = outcome(options.build, commands[str(file.resolve())], file, "".join(lines))
        counted += result.startswith(("killed", "survived"))
        if at >= len(done):
            with log.open("a") as out:
                print(file, number, result, old, new.strip(), sep="\t", file=out)
    lines = log.read_text().splitlines()
    print(f"{sum('killed by' in line for line in lines)} killed, survivors:")
    print(*(line for line in lines if "\tsurvived\t" in line), sep="\n")


main()
