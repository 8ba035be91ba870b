"""How a data set lies on the disk: which files are its tables, how they are read, and where the clips are that they name.

a folder     recognise  ->  standard | kaldi | audiofolder | competition | manifest | beside   one reader a layout
a table      tables     ->  delimited | records                                                one reader a kind of file
its columns  roles      ->  which names the clips, which is the label
its names    clips      ->  similar                                                            the clip of each
the test     submission ->  the rows that are asked for
"""
