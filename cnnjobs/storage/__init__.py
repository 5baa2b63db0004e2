"""Local disk and S3 under one kind of name."""
