"""File contents by key: in a folder, or at an S3-compatible endpoint. Know no rows and no users."""
