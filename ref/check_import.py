"""Compares `./bm3 import` with an import by pandas: files with every trap that we know, in every
format, to the last number of each file; with --big N instead a file of N ratings, with the time and
the memory that it took.
"""
import argparse
import gzip
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from encode_text import sentences

CORE, SEED, SPLIT_STREAM = 5, 999, 1
TRAPS = ["with space", " leading", "007", "7", "NA", "null", 'say "so"', "a,b", "semi;colon",
         "tab\tid", "two\nlines", "ü-ñ", "1e3", "-1"]


def philox(seed, stream, step, block):
    """The first word of Philox4x32-10 (Salmon et al., SC 2011); counter: block, step, stream."""
    c = [block & 0xFFFFFFFF, block >> 32, step, stream]
    k = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(q >> 32) ^ c[1] ^ k[0], q & 0xFFFFFFFF, (p >> 32) ^ c[3] ^ k[1], p & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c[0]


# --------------------------------------------------------------------------------- generated files

def generate(rng, texts, n_users=90, n_items=70, n=1500):
    """Ratings as a frame (user, item, rating, time), ids as text: power laws, repeated pairs, ties
    in time, and at the front a user who falls out in the third round: one of her five items has
    five users, of whom one has four items."""
    def names(prefix, count):
        return [texts[k] + prefix if k < len(texts) else f"{prefix}{k}" for k in range(count)]
    users, items = np.array(names("U", n_users), object), np.array(names("I", n_items), object)
    items[30:] = [f"B{k:09d}" for k in range(n_items - 30)]  # as long as Amazon's

    def draw(names, count):
        return names[(len(names) * rng.random(count) ** 2).astype(int)]
    frame = pd.DataFrame({"user": draw(users, n), "item": draw(items, n)})
    chain = [("third", f"common{k}") for k in range(4)] + [("third", "second"), ("first", "second")]
    chain += [("first", f"common{k}") for k in range(3)]
    full = [(f"full{u}", f"common{k}") for u in range(6) for k in range(6)]
    chain += [(f"full{u}", "second") for u in range(3)] + full
    frame = pd.concat([pd.DataFrame(chain, columns=["user", "item"]), frame], ignore_index=True)
    again = frame.sample(60, random_state=1)  # pairs that are there, some at the same time
    frame = pd.concat([frame, again], ignore_index=True)
    frame["rating"] = rng.integers(1, 6, len(frame)).astype(float)
    frame["time"] = 1300000000 + 86400 * rng.integers(0, 12, len(frame))  # ties
    front = len(chain)
    order = np.concatenate([np.arange(front), front + rng.permutation(len(frame) - front)])
    frame = frame.iloc[order].reset_index(drop=True)
    frame.loc[len(frame) - 5, "user"] = ""
    frame.loc[len(frame) - 9, "item"] = ""
    return frame


def write_text(path, text):
    opened = gzip.open(path, "wb") if path.suffix == ".gz" else open(path, "wb")
    with opened as file:
        file.write(text.encode())


COLUMNS = ("user", "item", "rating", "time")


def write_frame(path, frame, sep=",", header=False, line_end="\n", order=COLUMNS, mark=""):
    write_text(path, mark + frame[list(order)].to_csv(None, sep=sep, index=False, header=header,
                                                      lineterminator=line_end))


def write_json(path, frame, keys):
    rows = [dict(zip(keys, row)) for row in frame[list(COLUMNS)].values.tolist()]
    for row in rows:
        row["reviewText"] = 'A "quoted"\ntext, with \\ and ü'
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def write_features(folder, rng, items):
    """The four forms, without some of the items and with others; returns sources and tables."""
    known = [i for k, i in enumerate(items) if k % 7]
    rng.shuffle(known)
    known.insert(0, "nobody's")  # the first record tells the separator: no tab in a CSV's
    table = {name: pd.DataFrame(rng.standard_normal((len(known), dim)).astype("f4"), index=known)
             for name, dim in [("image", 4096), ("text", 5), ("sound", 3), ("more", 4)]}
    table["image"] = table["image"].loc[[i for i in known if len(i.encode()) == 10]]
    with open(folder / "image_features_X.b", "wb") as file:
        for i, row in table["image"].iterrows():
            file.write(i.encode() + row.to_numpy().tobytes())
    np.save(folder / "text.npy", table["text"].to_numpy().astype("f8"))
    one_line = [i.replace("\n", "?") for i in known]
    table["text"].index = one_line
    write_text(folder / "ids.txt.gz", "".join(i + "\r\n" for i in one_line))
    table["sound"].to_csv(folder / "sound.csv", header=False)
    table["more"].to_csv(folder / "more.tsv.gz", sep="\t", index_label="item")
    sources = [f"image={folder}/image_features_X.b", f"text={folder}/text.npy,{folder}/ids.txt.gz",
               f"sound={folder}/sound.csv", f"more={folder}/more.tsv.gz"]
    return sources, table


# --------------------------------------------------------------------------------------- by pandas

def core_of(frame):
    """The k-core, and who fell out in which round."""
    rounds = []
    while True:
        users, items = frame["user"].value_counts(), frame["item"].value_counts()
        bad_users, bad_items = users.index[users < CORE], items.index[items < CORE]
        if len(bad_users) + len(bad_items) == 0:
            return frame, rounds
        rounds.append((set(bad_users), set(bad_items)))
        frame = frame[~frame["user"].isin(bad_users) & ~frame["item"].isin(bad_items)]


def labels_of(frame, by_time):
    """x_label of each row: 8:1:1 for each user."""
    label = np.zeros(len(frame), int)
    for user, rows in frame.reset_index(drop=True).groupby("userID"):
        places = rows.index.to_numpy().copy()
        if by_time:
            places = places[np.argsort(rows["time"].to_numpy(), kind="stable")]
        else:
            for n in range(len(places), 1, -1):
                k = philox(SEED, SPLIT_STREAM, user, n) % n
                places[[n - 1, k]] = places[[k, n - 1]]
        n = len(places)
        held = 0 if n < 3 else 2 if n < 10 else int(0.2 * n)
        label[places[n - held:]] = 2
        label[places[n - held:n - held + held // 2]] = 1
    return label


def import_frame(frame, by_time):
    frame = frame[(frame["user"] != "") & (frame["item"] != "")]
    pair = frame.groupby(["user", "item"])
    frame = frame.assign(time=pair["time"].transform("min")).drop_duplicates(["user", "item"])
    frame, rounds = core_of(frame)
    frame = frame.assign(userID=pd.factorize(frame["user"])[0],
                         itemID=pd.factorize(frame["item"])[0])
    return frame.assign(x_label=labels_of(frame, by_time)), rounds


# -------------------------------------------------------------------------------------- comparison

def check_map(path, frame, name, number):
    found = pd.read_csv(path, sep="\t", dtype={0: str}, keep_default_na=False)
    expected = frame.drop_duplicates(number).sort_values(number)
    assert list(found.columns) == [f"{name}_id", number], path
    assert found.iloc[:, 0].tolist() == expected[name].tolist(), path
    assert found[number].tolist() == expected[number].tolist(), path


def check_features(path, frame, table):
    items = frame.drop_duplicates("itemID").sort_values("itemID")["item"]
    expected = table.reindex(items).to_numpy()
    missing = np.isnan(expected).all(axis=1)
    mean = expected[~missing].mean(axis=0, dtype="f8")
    found = np.load(path)
    assert found.dtype == np.float32 and missing.any() and not missing.all(), path
    assert np.array_equal(found[~missing], expected[~missing]), path
    assert np.abs(found[missing] - mean).max() <= 2 ** -24 * np.abs(mean).max(), path


def check_folder(folder, frame, tables=None):
    found = pd.read_csv(folder / f"{folder.name}.inter", sep="\t")
    columns = ["userID", "itemID", "x_label"]
    expected = frame[columns].sort_values("x_label", kind="stable").reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected)
    check_map(folder / "user_ids.tsv", frame, "user", "userID")
    check_map(folder / "item_ids.tsv", frame, "item", "itemID")
    for name, table in (tables or {}).items():
        check_features(folder / f"{name}_feat.npy", frame, table)


def run(bm3, data, name, ratings, *options):
    """What the program said, its seconds, and the most MiB that it had."""
    began = time.time()
    with tempfile.TemporaryFile("w+") as said:
        words = [bm3, "import", name, "--data", data, "--ratings", ratings, *options]
        program = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=said)
        _, status, used = os.wait4(program.pid, 0)
        program.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read()
    assert program.returncode == 0, text
    return text, time.time() - began, used.ru_maxrss / 1024


def check_formats(bm3, folder, rng):
    quoted = generate(rng, TRAPS)
    plain_ids = generate(rng, ["with space", "007", "7", "NA", "ü-ñ"])
    names = ["user_id", "item_id", "rating", "timestamp"]
    recbole = ["user_id:token", "item_id:token", "rating:float", "timestamp:float"]
    amazon = ["reviewerID", "asin", "overall", "unixReviewTime"]
    odd = ["who", "what", "stars", "when"]
    by_name = ["--columns", "user=who", "item=what", "time=when"]
    by_number = ["--columns", "item=1", "time=2", "user=4"]
    swapped = ("item", "time", "rating", "user")
    cases = {
        "ratings_X.csv": (plain_ids, lambda p, f: write_frame(p, f), []),
        "ratings_X.csv.gz": (quoted, lambda p, f: write_frame(p, f, line_end="\r\n"), []),
        "names.csv": (quoted, lambda p, f: write_frame(p, f, header=names, mark="\ufeff"), []),
        "odd.csv": (quoted, lambda p, f: write_frame(p, f, ";", odd, "\r\n"), by_name),
        "numbers.tsv": (quoted, lambda p, f: write_frame(p, f, "\t", order=swapped), by_number),
        "recbole.inter": (quoted, lambda p, f: write_frame(p, f, "\t", recbole), []),
        "reviews_X_5.json": (quoted, lambda p, f: write_json(p, f, amazon), []),
        "reviews_X_5.json.gz": (quoted, lambda p, f: write_json(p, f, odd), by_name),
    }
    for file, (frame, write, options) in cases.items():
        write(folder / file, frame)
        for by_time in (False, True):
            expected, rounds = import_frame(frame, by_time)
            fell = [who[k] for k, who in zip((0, 1, 0), rounds)]
            assert all(name in who for name, who in zip(("first", "second", "third"), fell))
            items = expected.drop_duplicates("item")["item"].tolist()
            features = folder / f"features_{file}_{by_time}"
            features.mkdir()
            sources, tables = write_features(features, rng, items)
            name = file.replace(".", "_") + ("_time" if by_time else "")
            run(bm3, folder / "data", name, folder / file, "--split",
                "time" if by_time else "random", "--features", *sources, *options)
            check_folder(folder / "data" / name, expected, tables)
            print(f"{name}: {len(expected)} interactions, {len(rounds)} rounds: equal")


def check_big(bm3, folder, rng, n):
    path = folder / "big.csv"
    with open(path, "w") as file:  # in pieces: no program has less memory than what starts it
        for _ in range(0, n, 500_000):
            user = (n / 3 * rng.random(500_000) ** 1.5).astype(int)
            item = (n / 20 * rng.random(500_000) ** 3).astype(int)
            when = 1300000000 + rng.integers(0, 10 ** 8, 500_000)
            file.writelines(f"A{u:013d},B{i:09d},5.0,{t}\n" for u, i, t in zip(user, item, when))
    for core in (CORE, 1):
        said, seconds, mib = run(bm3, folder / "data", f"core{core}", path, "--split", "time",
                                 "--core", str(core))
        print(f"{said}{path.stat().st_size / 2 ** 20:.0f} MiB of ratings, core {core}: "
              f"{seconds:.1f} s, at most {mib:.0f} MiB of memory", flush=True)
    frame = pd.read_csv(path, header=None, names=["user", "item", "rating", "time"])
    check_folder(folder / "data" / f"core{CORE}", import_frame(frame, True)[0])
    print("equal")


def check_sentences(folder):
    """Of encode_text.py: a record as JSON and as a Python literal, one without fields, and none."""
    record = {"asin": "B2", "title": "A 'title'", "brand": "b", "description": "one\ntwo",
              "categories": [["Sports", "Golf"], ["Other"]]}
    write_text(folder / "meta.json.gz", json.dumps(record) + "\n" + repr({"asin": "B3"}) + "\n")
    write_text(folder / "literal", repr(record) + "\n")
    expected = "A 'title' b Sports Golf one two"
    found = sentences(["B1", "B2", "B3"], folder / "meta.json.gz")
    assert found == ([" " * 6, expected, " " * 6], 1), found
    assert sentences(["B2"], folder / "literal") == ([expected], 0)
    print("sentences: equal")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bm3", default="./bm3", help="the program")
    parser.add_argument("--big", type=int, default=0, metavar="N", help="ratings of the large file")
    parser.add_argument("--seed", type=int, default=1, help="of the generated files")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        if options.big:
            check_big(options.bm3, Path(folder), rng, options.big)
        else:
            check_sentences(Path(folder))
            check_formats(options.bm3, Path(folder), rng)


if __name__ == "__main__":
    main()
