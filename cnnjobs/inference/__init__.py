"""An archive scored to Parquet: one row per image, resumable."""
