"""What a frame is: the frames table, data sets, shards, batches."""
