"""Reports: pages that show a run or many runs, made from the files that these left."""
