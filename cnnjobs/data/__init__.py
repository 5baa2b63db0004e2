"""From folders and S3 prefixes to a manifest."""
