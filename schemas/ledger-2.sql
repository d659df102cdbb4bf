-- Version 2: results that were adopted.

-- The key of the checkpoint that a stage's result was taken from, where nothing was computed: its inputs
-- had the same content. Times and device are those of the attempt that computed it.
ALTER TABLE attempt ADD COLUMN adopted TEXT;
