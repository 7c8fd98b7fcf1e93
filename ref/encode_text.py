"""Makes FOLDER/text_feat.npy, a row for each item of an imported data set, from Amazon's metadata:
the fields in the order of MMRec, encoded by a sentence transformer (pip install
sentence-transformers).

    python3 ref/encode_text.py data/sports meta_Sports_and_Outdoors.json.gz
"""
import argparse
import ast
import csv
import gzip
import json
import os
from pathlib import Path

import numpy as np

MODEL = "sentence-transformers/all-MiniLM-L6-v2"


def read_items(folder):
    """The original ids in the order of their numbers."""
    for name in ("item_ids.tsv", "i_id_mapping.csv"):
        if (folder / name).exists():
            with open(folder / name, encoding="utf-8", newline="") as file:
                rows = list(csv.reader(file, delimiter="\t"))[1:]
            return [item for item, _ in sorted(rows, key=lambda row: int(row[1]))]
    raise SystemExit(f"no item_ids.tsv in {folder}: expected a data set that bm3 import made")


def records(path):
    """The metadata's records: a line each, JSON or a Python literal."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                yield ast.literal_eval(line)


def sentence(record):
    r"""Title, brand, the first list of categories, description; a space for what is not there.

    >>> sentence({"asin": "B2", "title": "A 'title'", "brand": "b", "description": "one\ntwo",
    ...           "categories": [["Sports", "Golf"], ["Other"]]})
    "A 'title' b Sports Golf one two"
    >>> sentence({})
    '      '
    """
    categories = (record.get("categories") or [[]])[0]
    text = record.get("title") or " "
    text += " " + (record.get("brand") or " ") + " "
    text += "".join(name + " " for name in categories) or " "
    text += record.get("description") or " "
    return text.replace("\n", " ")


def sentences(items, path):
    """The items' sentences, and how many items have no metadata."""
    number = {item: k for k, item in enumerate(items)}
    out = [None] * len(items)
    for record in records(path):
        if record["asin"] in number:
            out[number[record["asin"]]] = sentence(record)
    return [text or sentence({}) for text in out], out.count(None)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="the data set")
    parser.add_argument("metadata", type=Path, help="meta_X.json, or .gz")
    parser.add_argument("--model", default=MODEL, help=f"name or folder of the encoder [{MODEL}]")
    options = parser.parse_args()
    target, part = options.folder / "text_feat.npy", options.folder / "text_feat.npy.part"
    if target.exists():
        raise SystemExit(f"{target} is there: expected to make it")
    texts, missing = sentences(read_items(options.folder), options.metadata)
    from sentence_transformers import SentenceTransformer
    features = SentenceTransformer(options.model).encode(texts, show_progress_bar=True)
    with open(part, "wb") as file:
        np.save(file, np.asarray(features, "<f4"))
    os.replace(part, target)
    rows, columns = features.shape
    print(f"wrote {target}: {rows} x {columns}; {missing} items without metadata")


if __name__ == "__main__":
    main()
