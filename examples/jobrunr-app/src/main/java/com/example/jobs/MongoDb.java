package com.example.jobs;

import com.mongodb.client.MongoClient;
import com.mongodb.client.MongoClients;
import org.jobrunr.jobs.mappers.JobMapper;
import org.jobrunr.storage.StorageProvider;
import org.jobrunr.storage.nosql.documentdb.AmazonDocumentDBStorageProvider;
import org.jobrunr.storage.nosql.mongo.MongoDBStorageProvider;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.autoconfigure.condition.ConditionalOnProperty;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;

/**
 * With an address of MongoDB's protocol, JobRunr keeps its jobs there rather than in the SQL database. JobRunr's starters make
 * this bean, too, but that of version 6 forgot to.
 */
@Configuration
@ConditionalOnProperty("mongodb.address")
class MongoDb {

    @Bean
    MongoClient mongoClient(@Value("${mongodb.address}") String address) {
        return MongoClients.create(address);
    }

    @Bean(destroyMethod = "close")
    StorageProvider storageProvider(
            MongoClient client,
            JobMapper mapper,
            @Value("${mongodb.database:jobrunr}") String database,
            @Value("${mongodb.provider:mongodb}") String name) {
        StorageProvider provider = name.equals("documentdb")
                ? new AmazonDocumentDBStorageProvider(client, database)
                : new MongoDBStorageProvider(client, database);
        provider.setJobMapper(mapper);
        return provider;
    }
}
