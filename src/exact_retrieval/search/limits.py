"""How much the search holds at once."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Limits:
    """Sizes of what the search holds at once. They change memory and time, never the result.

    Attributes:
        tile_rows: references in a tile, about.
        tile_elements: numbers in the rows of a tile, about.
        product_bytes: of a product on a CPU, which should stay in its caches. For 32 MiB or more
            glibc asks the system in every search, and the system clears them.
        product_bytes_gpu: of a product on another device, which should fill it.
    """

    tile_rows: int = 2**14
    tile_elements: int = 2**22
    product_bytes: int = 31 * 2**20
    product_bytes_gpu: int = 2**27

    def tiles(self, references: int, columns: int) -> int:
        """Return the number of tiles to cut references into."""
        rows = max(1, min(self.tile_rows, self.tile_elements // columns))
        return -(-references // rows)

    def queries(self, queries: int, references: int, itemsize: int, device: torch.device) -> int:
        """Return how many of the queries to multiply with a tile at once, about as many each time.

        Args:
            queries: how many there are.
            references: in the tile.
            itemsize: bytes of an entry of the product.
            device: that multiplies.
        """
        size = self.product_bytes if device.type == "cpu" else self.product_bytes_gpu
        products = -(-queries // max(1, size // (references * itemsize)))
        return -(-queries // products)
