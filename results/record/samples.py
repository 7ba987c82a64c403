"""Samples as Parquet: one file a name, one row group an addition. pyarrow is imported on first use."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.record.contract import RecordError
from results.record.files import explain
from results.record.ownership import give_to_owner_of, make_folder

if TYPE_CHECKING:
    import numpy as np

Columns = dict[str, "np.ndarray[Any, Any]"]
_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")


class SampleFile:
    """One samples/<name>.parquet while it is written.

    A Parquet file can be read only with its footer there: it is called `<name>.parquet.partial` until closed.
    """

    def __init__(self, folder: Path, name: str) -> None:
        if not _NAME.match(name):
            raise RecordError(f"samples: the name {name!r} is not lower-case letters, digits and '_'")
        self.path = folder / f"{name}.parquet"
        self._partial = folder / f"{name}.parquet.partial"
        self._writer: Any = None
        self._schema: Any = None
        self._trouble: RecordError | None = None

    def append(self, columns: Mapping[str, Any]) -> None:
        """Add one row group; every addition has the columns and types of the first. Raises RecordError."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pa.table({name: pa.array(values) for name, values in columns.items()})
            if self._schema is not None:
                if table.column_names != self._schema.names:
                    raise RecordError(
                        f"samples {self.path.stem}: columns {', '.join(table.column_names) or 'none'}; "
                        f"the first addition had {', '.join(self._schema.names)}"
                    )
                table = table.cast(self._schema)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise RecordError(f"samples {self.path.stem}: {' '.join(str(error).split())}") from error
        try:
            if self._writer is None:
                self._schema = table.schema
                make_folder(self._partial.parent)
                self._writer = pq.ParquetWriter(self._partial, table.schema, **_encodings(table.schema))
                give_to_owner_of(self._partial.parent, self._partial)
            self._writer.write_table(table)
        except OSError as error:
            self._trouble = explain(error, self.path)
            raise self._trouble from error

    def close(self) -> None:
        """Write the footer and give the file its name.

        Raises RecordError when that fails or an addition had failed. The file is then removed: what it holds
        cannot be trusted, and a full disk gets room for the verdict.
        """
        if self._writer is None and self._trouble is None:
            return
        writer, self._writer = self._writer, None
        try:
            if writer is not None:
                writer.close()
            if self._trouble is None:
                descriptor = os.open(self._partial, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                self._partial.replace(self.path)
        except OSError as error:
            self._trouble = self._trouble or explain(error, self.path)
        if self._trouble is not None:
            with contextlib.suppress(OSError):
                self._partial.unlink(missing_ok=True)
            raise self._trouble


def _encodings(schema: Any) -> dict[str, Any]:
    """Counters shrink as differences and times as split bytes; text and small integers as a dictionary."""
    import pyarrow as pa

    encodings = {}
    for field in schema:
        if pa.types.is_int64(field.type):
            encodings[field.name] = "DELTA_BINARY_PACKED"
        elif pa.types.is_floating(field.type):
            encodings[field.name] = "BYTE_STREAM_SPLIT"
    others = [field.name for field in schema if field.name not in encodings]
    return {"compression": "zstd", "use_dictionary": others or False, "column_encoding": encodings or None}


def sample_names(folder: Path) -> list[str]:
    """Names of the samples a run's folder has, sorted; none is not an error."""
    return sorted(path.stem for path in (folder / "samples").glob("*.parquet"))


def missing_samples(folder: Path) -> str:
    """What to tell of a run's folder that has no samples: what is not shown and where they are; '' if it has some."""
    if sample_names(folder) or (folder / "sweep.json").exists():  # a sweep's are in the runs beneath it
        return ""
    return (
        f"{folder.resolve().name}: has no samples, so no packets are drawn; the figures are in the record and stand. "
        "Where its experiment records packets, a new run has timelines"
    )


def read_samples(
    folder: Path, name: str, *, trial: int | None = None, columns: Sequence[str] | None = None
) -> Columns:
    """Columns of samples/<name>.parquet as numpy arrays, in file order; of one trial if `trial` is given.

    Raises RecordError: no such samples, run died before they were complete, file damaged, unknown column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / "samples" / f"{name}.parquet"
    if not path.exists():
        if path.with_name(path.name + ".partial").exists():
            raise RecordError(f"{path}: incomplete, the run ended before it closed this file; run it again")
        there = ", ".join(sample_names(folder)) or "none"
        raise RecordError(f"{path}: no such samples in this run; there are: {there}")
    try:
        with pq.ParquetFile(path) as file:
            known = file.schema_arrow.names
            missing = [column for column in columns or () if column not in known]
            if missing:
                raise RecordError(f"{path}: no column {missing[0]!r}; there are: {', '.join(known)}")
            # partitioning=None: no part of the folder's path is to be taken for a column.
            filters = None if trial is None else [("trial", "==", trial)]
            if trial is not None and "trial" not in known:
                raise RecordError(f"{path}: has no column 'trial', so none can be picked")
        table = pq.read_table(
            path, columns=None if columns is None else list(columns), filters=filters, partitioning=None
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        raise RecordError(
            f"{path}: not a readable Parquet file ({' '.join(str(error).split())[:120]})"
        ) from error
    return {column: table[column].to_numpy() for column in table.column_names}
