"""What a question looks at: an atlas' rows as loaded, who asks, who may answer, by which labels."""
