"""What the tests of Arrow Flight share: a stock pyarrow client, descriptors as anybody writes them, rows to upload."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.flight as fl

# pyarrow chooses the class of an error by its gRPC code; not all are FlightErrors.
ERRORS = (fl.FlightError, pa.ArrowException)
ROWS = 60_000


def flat(column):
    array = column.combine_chunks()
    return np.asarray(getattr(array, "storage", array).flatten())


def connect(server):
    options = fl.FlightCallOptions(headers=[(b"authorization", f"Bearer {server.token}".encode())], timeout=60)
    return fl.connect(f"grpc://{server.address}"), options


class Caller:
    """A client with its options."""

    def __init__(self, client, options):
        self.client, self.options = client, options

    def info(self, descriptor):
        return self.client.get_flight_info(descriptor, self.options)

    def get(self, ticket):
        return self.client.do_get(ticket, self.options).read_all()

    def read(self, descriptor):
        info = self.info(descriptor)
        tables = [self.get(e.ticket) for e in info.endpoints]
        assert all(t.schema == info.schema for t in tables)
        return pa.concat_tables(tables)


def command(**of):
    """A command as anybody writes it by hand: JSON."""
    return fl.FlightDescriptor.for_command(json.dumps(of).encode())


def scan(dataset, **fields):
    return command(scan={"dataset": dataset, **fields})


def images(rows=ROWS, seed=0, width=600):
    rng = np.random.default_rng(seed)
    flat = rng.integers(0, 256, rows * width, dtype=np.uint8)
    return pa.table(
        {
            "image": pa.FixedSizeListArray.from_arrays(pa.array(flat), width),
            "label": pa.array(np.sort(rng.integers(0, 10, rows)), pa.int64()),
            "quality": pa.array(rng.random(rows), pa.float64()),
            "name": pa.array([f"img-{i}.jpg" for i in range(rows)], pa.string()),
        }
    )


def put(flight, options, to, data, meta=None, batch=None):
    """Upload a table to a descriptor or an address, `batch` rows a message; returns the answer."""
    descriptor = fl.FlightDescriptor.for_path(*to.split("/")) if isinstance(to, str) else to
    writer, reader = flight.do_put(descriptor, data.schema, options=options)
    with writer:
        for i, part in enumerate(data.to_batches(max_chunksize=batch)):
            if meta and i == 0:
                writer.write_with_metadata(part, json.dumps(meta).encode())
            else:
                writer.write_batch(part)
        writer.done_writing()
        return json.loads(reader.read().to_pybytes())


def upload(flight, address, data):
    return put(flight.client, flight.options, address, data, batch=10_000)
