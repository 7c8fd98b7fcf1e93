"""Checks that the tables of paper_notes.md and of src/ops/README.md name what exists: each name in
backticks is a file, a test, an option, or an identifier in the code of one of its row's files."""
import pathlib
import re
import sys

SOURCE = pathlib.Path(__file__).parents[1]
CODE = {folder: {file: file.read_text() for file in sorted((SOURCE / folder).rglob("*"))
                 if file.suffix in {".h", ".cpp", ".cu", ".inc", ".py"}}
        for folder in ("src", "tests", "ref")}
PATH = r"[\w.]+(/[\w.]+)+/?|\w+\.(h|cpp|cu|py|md)"


def stands_in(folder, *texts):
    return any(text in code for text in texts for code in CODE[folder].values())


def row(line):
    """What a row names: files, identifiers, tests, and what is wrong with it."""
    files, identifiers, tests, wrong = [], [], [], []
    for name in re.findall(r"`([^`]+)`", line):
        option = name.split()[0]
        if re.fullmatch(PATH, name):
            known = (SOURCE / name).exists()
            files += [SOURCE / name] * (SOURCE / name).is_file()
        elif re.fullmatch(r"[A-Z]\w*\.[A-Z]\w*", name):
            tests.append(name)
            known = stands_in("tests", "(" + name.replace(".", ", ") + ") {")
        elif name.startswith("--"):  # by its own name, or by that of a setting
            known = stands_in("src", f'"{option}"', f'{{"{option[2:]}", ')
        else:
            known = re.fullmatch(r"\w+(::\w+)*", name)
            identifiers += name.split("::")
        if not known:
            wrong.append("no file, test, option or identifier: " + name)
    # What stands in // comments alone is not in the code.
    code = [re.sub("//.*", "", file.read_text()) for file in files]
    words = set(re.findall(r"\w+", " ".join(code)))
    wrong += [f"no {word} in the files of its row" for word in identifiers if word not in words]
    return files, identifiers, tests, wrong


def tables(text):
    """What is wrong in the tables of a text, and the equations of its table of equations."""
    wrong, equations, of_equations = [], set(), False
    for line in text.splitlines():
        head = line.startswith("| equation |")
        of_equations = head or of_equations and line.startswith("|")
        if not line.startswith("| "):
            continue
        *named, of_row = row(line)
        wrong += of_row
        if of_equations and not head:
            if not all(named):
                wrong.append("no file, identifier or test in the row " + line.split("|")[1])
            if re.match(r"\| \d+(, \d+)* \|", line):
                equations |= {int(n) for n in re.findall(r"\d+", line.split("|")[1])}
    return wrong, equations


def check_tags(known):
    """Yields what is wrong where code names an equation, as in [Eq. 9] or [Eq. 3, 5-7]."""
    yield from (f"Eq. {n} has no row" for n in range(1, 14) if n not in known)
    tags = [(file, tag) for files in CODE.values() for file, text in files.items()
            for tag in re.findall(r"\[Eq\. ([^\]]*)\]", text)]
    for file, tag in tags:
        if (not re.fullmatch(r"\d+(-\d+)?(, \d+(-\d+)?)*", tag)
                or not known >= {int(n) for n in re.findall(r"\d+", tag)}):
            yield f"{file}: a tag with {tag}"
    if len(tags) < 90:
        yield f"{len(tags)} tags in the code: expected 90 or more"


notes, ops = ((SOURCE / name).read_text() for name in ("paper_notes.md", "src/ops/README.md"))
sys.exit("\n".join([*tables(notes)[0], *tables(ops)[0], *check_tags(tables(notes)[1])]) or None)
