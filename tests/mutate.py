"""Plants mutants of universalmutator (from pip) and lists those that no test notices.

    python3 tests/mutate.py DIR --count 220 --seed 1

Works in DIR/source, a clone of what is committed, and DIR/build. A line of DIR/mutants.tsv is a
mutant: file, line, outcome, old and new text. Outcomes: killed by a program of tests, of which
those that are likely to notice are asked first; survived all. Not judged: invalid (does not
compile) and same (the libraries have the same bytes). A second call goes on; a mutant whose line
is taken out of the file is asked about again."""
import argparse
import contextlib
import hashlib
import os
import pathlib
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile

from universalmutator.mutator import mutants_regexp

# Names of types, ++ and & that a rule has spoilt.
NO_CODE = re.compile(r"\bu?int(?!(8|16|32|64)_t)[-(\d]|[*/%]\+\w|\+[*/%]\w|\w>?\| \w|[{(]\|\w")
RULES = ["universal.rules", "c_like.rules", "cpp.rules"]
# Of each group: its mutants in a round of draws, its sources, and the programs of tests that are
# likely to notice, or some of their tests ({}: the source's name). A source's own program, where
# there is one, comes first.
GROUPS = [
    (3, ["src/models/*.cpp"], ["goldens:*.Agree", "models:*_{}*", "rivals", "training"]),
    (2, ["src/layers/*.cpp", "src/layers/*.h"],
     ["batch", "negatives", "goldens:*.Agree", "models", "graphs", "training"]),
    (2, ["src/ops/cpu/*.cpp", "src/ops/cpu/product.h"], ["goldens:*.Agree", "ops"]),
    (1, ["src/ops/choose.cpp"], ["choose"]),
    (2, ["src/train.cpp"], ["protocol", "training", "checkpoint"]),
    (1, ["src/evaluate.cpp"], ["evaluate", "protocol"]),
    (2, ["src/data/*.cpp"], ["lines", "files", "inter", "npy", "dataset", "import", "cli_import"]),
]
UNCONCERNED = {"cuda_device", "cuda_host", "philox"}
# Of one program: seconds of a processor and on the clock, for it may sleep, and bytes.
SECONDS, CLOCK = 8, 900
SLOW = {"ops": 60, "goldens": 90, "models": 60, "training": 30}
BYTES = {resource.RLIMIT_AS: 8 << 30, resource.RLIMIT_FSIZE: 1 << 30}


def hopeless(old, new):
    """Whether a mutant cannot compile, or changes a comment: no compiler need be asked."""
    at = len(os.path.commonprefix([old, new]))
    at -= new[at:at + 1] == "=" and old[at - 1:at] in "<>"
    bracket = old[at:at + 1] in "<>" and not (old[at - 1:at] == " " == old[at + 1:at + 2])
    header = old.endswith("{") and not old.startswith(("for ", "if ", "while ", "} else"))
    return (old.startswith(("//", "#", "template", "using", "namespace")) or bracket or header or
            bool(NO_CODE.search(new)) and not NO_CODE.search(old))


def mutants_of(patterns):
    """Yields every mutant (file, number of the line, its new text) of the files."""
    for file in sorted(file for pattern in patterns for file in pathlib.Path().glob(pattern)):
        lines = file.read_text().splitlines(True)
        with contextlib.redirect_stdout(None):
            found = mutants_regexp(lines, RULES, ignorePatterns=[], ignoreStringOnly=True)
        for number, new, *_ in found:
            if not hopeless(lines[number - 1].strip(), new.strip()):
                yield file, number, new


def likely_for(file, likely):
    """Returns the programs that are likely to notice a mutant of a file, its own ones first."""
    own = [file.stem] * pathlib.Path(f"tests/test_{file.stem}.cpp").exists()
    of_ops = pathlib.Path(f"tests/ops/{file.name}")
    if "ops" in likely and of_ops.exists():
        suites = dict.fromkeys(re.findall(r"TEST\((\w+),", of_ops.read_text()))
        own += ["ops:" + ":".join(suite + "*" for suite in suites)]
        likely = [name for name in likely if name != "ops"]
    return list(dict.fromkeys(own + [name.format(file.stem) for name in likely]))


def drawn(seed):
    """Yields mutants with the programs that are likely to notice, in rounds over the groups."""
    draw = random.Random(seed)
    groups = [(share, list(mutants_of(patterns)), likely) for share, patterns, likely in GROUPS]
    for _, found, _ in groups:
        draw.shuffle(found)
    while all(len(found) >= share for share, found, _ in groups):
        for share, found, likely in groups:
            for _ in range(share):
                mutant = found.pop()
                yield mutant, likely_for(mutant[0], likely)


def status(command, **options):
    """Runs a command, and ends with it what it has started."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               start_new_session=True, **options)
    try:
        return process.wait(CLOCK)
    except subprocess.TimeoutExpired:
        return 1
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def passes(build, name, tests):
    """Runs tests of a program, with limits."""
    seconds = SECONDS if tests == "*.Agree" else SLOW.get(name, SECONDS)

    def limit():
        for kind, most in {**BYTES, resource.RLIMIT_CPU: seconds}.items():
            resource.setrlimit(kind, (most, most))
        for kind in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):  # ignored in the background
            signal.signal(kind, signal.SIG_DFL)
    with tempfile.TemporaryDirectory() as scratch:
        os.chmod(scratch, 0o755)  # for a test that runs the program as another user
        return status([build / ("test_" + name), "--gtest_fail_fast",
                       "--gtest_filter=" + (tests or "*")], preexec_fn=limit,
                      env={**os.environ, "TMPDIR": scratch, "OMP_WAIT_POLICY": "passive"}) == 0


def made(build, target):
    """Builds a target, and returns whether that was possible."""
    return status(["cmake", "--build", build, "--target", target]) == 0


def libraries(build):
    return [hashlib.sha1(file.read_bytes()).digest() for file in sorted(build.glob("lib*.a"))]


def killer(build, programs):
    """Returns the first of the programs that fails, "" where all pass."""
    for name, _, tests in (program.partition(":") for program in programs):
        if not made(build, "test_" + name):
            return "the linker"
        if not passes(build, name, tests):
            return name
    return ""


def outcome(build, mutant, programs):
    """Plants a mutant, and returns what the programs say about it."""
    file, number, new = mutant
    right, times = file.read_text(), file.stat()
    lines = right.splitlines(True)
    lines[number - 1] = new
    made(build, "bm3_model")
    before = libraries(build)
    compiles = True
    try:
        file.write_text("".join(lines))
        compiles = made(build, "bm3_model")
        if not compiles:
            return "invalid"
        if libraries(build) == before:
            return "same"
        name = killer(build, programs)
        return ("invalid" if name == "the linker" else
                "killed by " + name if name else "survived")
    finally:
        file.write_text(right)
        if not compiles and file.suffix == ".cpp":  # its object is still the right one
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def prepare(folder):
    """Clones and builds what is committed, where that is not done, and goes there."""
    source, build = folder / "source", folder / "build"
    if not source.exists():
        subprocess.run(["git", "clone", "--quiet", pathlib.Path(__file__).parents[1], source],
                       check=True)
    os.chdir(source)
    subprocess.run(["git", "checkout", "--quiet", "--", "."], check=True)
    subprocess.run(["cmake", "--log-level=WARNING", "-S", source, "-B", build, "-DBM3_GPU=OFF"],
                   check=True)
    likely = dict.fromkeys(name.replace("{}", "") for _, _, names in GROUPS for name in names)
    failing = killer(build, likely)
    if failing:
        sys.exit(f"test_{failing} fails without a mutant")
    return build


def key_of(mutant):
    file, number, new = mutant
    return str(file), str(number), " ".join(new.split())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=lambda text: pathlib.Path(text).resolve())
    parser.add_argument("--count", type=int, default=220)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    build = prepare(options.folder)
    every = [file.stem[5:] for file in sorted(pathlib.Path("tests").glob("test_*.cpp"))] + ["ops"]
    log, done = options.folder / "mutants.tsv", {}
    for line in log.read_text().splitlines() if log.exists() else []:
        file, number, result, _, new = line.split("\t")
        done[file, number, new] = result
    for mutant, likely in drawn(options.seed):
        judged = [result for result in done.values() if result not in ("invalid", "same")]
        if len(judged) >= options.count:
            break
        if key_of(mutant) in done:
            continue
        rest = [name for name in every if name not in likely and name not in UNCONCERNED]
        old = mutant[0].read_text().splitlines()[mutant[1] - 1].strip()
        file, number, new = key_of(mutant)
        done[file, number, new] = outcome(build, mutant, likely + rest)
        with log.open("a") as out:
            print(file, number, done[file, number, new], old, new, sep="\t", file=out)
    print(f"{len(judged)} judged, {judged.count('survived')} survived:")
    print(*(key for key, result in done.items() if result == "survived"), sep="\n")


main()
