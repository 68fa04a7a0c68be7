"""From a scan's file to the files of its segmentation."""
