"""Datasets of training samples, as files and folders that people have.

Owns: the names of the readers and writers. The one law: a dataset is streamed, never held, so that its size is no
matter; and what is wrong with it is said with file and line.
"""

from personascope.core.samples import Message, Sample
from personascope.interop.samples.layouts import messages_of
from personascope.interop.samples.reading import count_samples, read_rows, read_samples
from personascope.interop.samples.writing import RowWriter, write_rows

__all__ = [
    "Message", "RowWriter", "Sample", "count_samples", "messages_of", "read_rows", "read_samples", "write_rows",
]  # fmt: skip
