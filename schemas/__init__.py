"""What the data is: records, settings, the collection's contract, errors. No I/O."""
