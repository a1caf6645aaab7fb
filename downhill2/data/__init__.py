"""Data as mini-batches: arrays of any library, files and streams; the order in which batches come; reading ahead."""
