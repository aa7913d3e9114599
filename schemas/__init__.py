"""What the data is: records, settings, the collection's contract, errors, waits. No I/O."""
